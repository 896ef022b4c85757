#!/bin/sh
# One message on its whole way, for people to read: what `make demo` runs.
#
#   tests/demo.sh PROGRAM FOLDER
#
# A private system is made in FOLDER: configuration, spool, mailbox, log. Each command is printed as one would type
# it there, then run; the first thing that is not as it should be ends this with exit code 1.
set -eu
umask 077

program=$(realpath "$1")
mkdir -p "$2"
cd "$2"
here=$(pwd)
rm -rf spool Maildir log report
for name in minimta sendmail mailq; do ln -sf "$program" $name; done

# Mail for a person needs a user of this machine; a container may run this under a number without a name.
me=$(id -un 2>/dev/null) || me=postmaster
case $me in *[!a-z0-9_-]* | '') me=postmaster ;; esac

cat > minimta.toml <<EOF
hostname = "demo.example"
user = "root"  # if it is root who runs this, all is done as root

[local]
mailbox = "$here/Maildir/"

[queue]
spool = "$here/spool"

[log]
to = "$here/log"
EOF

cat > message.eml <<EOF
From: A cron job <$me>
To: $me
Subject: It works

The backup of last night is complete.
EOF

say() { printf '\n# %s\n' "$1"; }

# Prints a command, runs it, prints its output; $output holds it for the checks.
run() {
    printf '$ %s\n' "$1"
    code=0
    output=$(sh -c "$1" 2>&1) || code=$?
    test -z "$output" || printf '%s\n' "$output"
    test $code -eq 0 || fail "that ended with exit code $code"
}

expect() {
    case $output in *"$1"*) ;; *) fail "that should have said: $1" ;; esac
}

fail() {
    printf '\ndemo: %s; the folder is %s\n' "$1" "$here" >&2
    exit 1
}

echo "A system of its own in $here:"
run 'cat minimta.toml'

say 'A message is handed in, and left to the queue run (-odq). Exit code 0: it is safe on the disk.'
run './sendmail -C minimta.toml -odq -t < message.eml'

say 'It waits.'
run './mailq -C minimta.toml'
expect "$me@demo.example"
expect '1 Request.'

say 'The queue run delivers it. At a terminal it says so without -v; from cron it is silent.'
run './minimta -C minimta.toml -q -v'
expect '1 delivered'

say 'It has arrived, with what was missing made.'
run 'cat Maildir/new/*'
expect 'Subject: It works'
expect 'The backup of last night is complete.'
run './mailq -C minimta.toml'
expect 'Mail queue is empty'

say 'One recipient of two does not exist: the good one gets it, and the sender hears of the other.'
run "echo 'Disk full.' | ./sendmail -C minimta.toml -odi $me nobody.of.that.name"
run "sed -n '/^Subject:/p; /^Your message/,/5[.]1[.]1/p' \$(grep -l multipart/report Maildir/new/*)"
expect 'nobody.of.that.name@demo.example'
test "$(find Maildir/new -type f | wc -l)" -eq 3 || fail 'three messages should have arrived'

say 'The log has one line an event; these are of the first message.'
run 'head -n 3 log'
expect ' queued from='
expect ' delivered to='
expect ' removed why=done'

printf '\nThat is all as it should be. Go on in %s; ./minimta --help shows what else there is.\n' "$here"
