#!/usr/bin/env bash
# Inside the fresh Debian: what a new user does with README.md, and what dpkg does later. Each step says "ok"; the first that
# does not ends it.
set -euo pipefail
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive
cd /root

ok() { printf 'ok       %s\n' "$*"; }
fail() { printf 'error    %s\n' "$*"; exit 1; }
# expect WANTED GOT WHAT
expect() { [[ $2 == "$1" ]] || fail "$3: expected \"$1\", found \"$2\""; ok "$3"; }
# wait_for SECONDS COMMAND...: looked at four times a second, for a bounded time.
wait_for() {
    local n=$(($1 * 4))
    shift
    while ((n-- > 0)); do
        "$@" && return 0
        sleep 0.25
    done
    return 1
}
mode_of() { stat -c '%a %U:%G' "$1"; }

echo '127.0.0.1 pi.example.org pi localhost' >/etc/hosts

# A provider to send through: another minimta, of a user of its own, with TLS and a login.
provider() {
    useradd --create-home provider
    local home=/home/provider
    mkdir $home/spool $home/run
    cat >$home/provider.toml <<END
hostname = "mail.example.net"
domains = ["example.net"]
[listen]
smtp = []
submissions = ["127.0.0.1:465"]
[access]
relay_from = []
users_file = "$home/users"
[local]
mailbox = "~/Maildir/"
[queue]
spool = "$home/spool"
run = "$home/run"
[log]
to = "$home/log"
END
    printf 'secret\n' | minimta --password me@example.org >$home/users
    chmod 640 $home/users
    chown -R provider: $home
    # A port below 1024 is not his; this place is.
    echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start
    setpriv --reuid provider --regid provider --clear-groups minimta -C $home/provider.toml -bD &
    wait_for 20 listens || fail "the provider does not listen: $(cat $home/log)"
}
listens() { (: </dev/tcp/127.0.0.1/465) 2>/dev/null; }
arrived() { grep -lr -- "$1" /home/provider/Maildir/new >/dev/null 2>&1; }

dpkg -i minimta.deb >/root/dpkg.log 2>&1 || fail "$(cat dpkg.log)"
[[ ! -s /root/asked ]] || fail "a question was asked"
ok "dpkg -i installs it"
expect '2755 root:minimta' "$(mode_of /usr/sbin/minimta)" 'the program is set-group-id minimta'
expect '640 root:minimta' "$(mode_of /etc/minimta/minimta.toml)" 'the configuration is closed to others'
expect '710 minimta:minimta' "$(mode_of /var/spool/minimta)" 'the spool is closed to others'
for name in /usr/sbin/sendmail /usr/lib/sendmail /usr/bin/mailq /usr/bin/newaliases; do
    expect /usr/sbin/minimta "$(readlink -f $name)" "$name is minimta"
done
expect 'Mail queue is empty' "$(mailq)" 'mailq works without a configuration'

# The README's smarthost, its host name and port alone changed to the provider's.
provider
sed -n '/^\[smarthost\]/,/^```/{/^```/!p}' README.md >/etc/minimta/minimta.toml
sed -i 's/"smtp.example.org"/"localhost"\nverify = false/' /etc/minimta/minimta.toml
grep -q 'password_file = "/etc/minimta/password"' /etc/minimta/minimta.toml || fail 'the README has no password_file'
printf 'secret\n' >/etc/minimta/password
# The commands the README names for it.
eval "$(sed -n 's/^(`\(chgrp minimta .*\)`).*/\1/p' README.md)"
expect '640 root:minimta' "$(mode_of /etc/minimta/password)" "the README's command closes the password"
minimta --check >check.log || fail "$(cat check.log)"
grep -q 'login as me@example.org works' check.log || fail "$(cat check.log)"
ok 'minimta --check logs in'

printf 'To: provider@example.net\nSubject: from root\n\nIt works.\n' | sendmail -t
wait_for 20 arrived 'from root' || fail "from root: $(mailq)"
ok 'mail of root goes out'
useradd --create-home alice
printf 'To: provider@example.net\nSubject: from alice\n\nIt works.\n' |
    setpriv --reuid alice --regid alice --clear-groups sendmail -odq -t
minimta -q
wait_for 20 arrived 'from alice' || fail "from alice: $(mailq)"
ok 'mail of a user goes out through the queue of the machine'
if setpriv --reuid alice --regid alice --clear-groups cat /etc/minimta/password 2>/dev/null; then fail 'alice reads the password'; fi
ok 'a user reads no secret'

# cron itself, with the job of a user that prints something.
printf 'MAILTO=provider@example.net\n* * * * * root echo the job has printed this\n' >/etc/cron.d/job
cron
wait_for 90 arrived 'the job has printed this' || fail "cron: $(mailq)"
rm /etc/cron.d/job
ok "what a job of cron prints is delivered"
# The line that cron runs every five minutes, as cron would.
printf 'To: provider@example.net\nSubject: queued\n\n.\n' | sendmail -odq -t
bash -c "$(sed -n 's/^\*\/5 \* \* \* \* root //p' /etc/cron.d/minimta)" >cron.log 2>&1
wait_for 20 arrived 'Subject: queued' || fail "the cron line: $(mailq)"
expect '' "$(cat cron.log)" 'the line of /etc/cron.d/minimta runs the queue and is silent'

# Something waits while the package changes.
printf 'To: provider@example.net\nSubject: waiting\n\n.\n' | sendmail -odq -t
printf '# mine\n' >>/etc/minimta/minimta.toml
before=$(sha256sum /etc/minimta/minimta.toml)
dpkg -i newer.deb >dpkg.log 2>&1 || fail "$(cat dpkg.log)"
expect "$before" "$(sha256sum /etc/minimta/minimta.toml)" 'an upgrade keeps the configuration'
expect '2755 root:minimta' "$(mode_of /usr/sbin/minimta)" 'an upgrade keeps the rights'
mailq | grep -q provider@example.net || fail 'an upgrade loses the queue'
ok 'an upgrade keeps the queue'
dpkg -i newer.deb >dpkg.log 2>&1 || fail "$(cat dpkg.log)"
ok 'the same package goes in a second time'

dpkg -r minimta >dpkg.log 2>&1 || fail "$(cat dpkg.log)"
[[ ! -e /usr/sbin/sendmail && -e /etc/minimta/minimta.toml ]] || fail 'removal takes too much or too little'
[[ $(ls /var/spool/minimta/new) ]] || fail 'removal takes the queue'
ok 'removal keeps configuration and queue'
dpkg -i newer.deb >dpkg.log 2>&1 || fail "$(cat dpkg.log)"
minimta -q
wait_for 20 arrived 'Subject: waiting' || fail "after all that: $(mailq)"
ok 'what waited is delivered after the program has come back'
rm /etc/minimta/password
dpkg -P minimta >dpkg.log 2>&1 || fail "$(cat dpkg.log)"
for left in /var/spool/minimta /etc/minimta /etc/cron.d/minimta /usr/sbin/minimta /run/minimta; do
    [[ ! -e $left ]] || fail "purge leaves $left"
done
if getent passwd minimta || getent group minimta; then fail 'purge leaves the user or the group'; fi
expect '' "$(dpkg-statoverride --list '*minimta*')" 'purge leaves nothing'
