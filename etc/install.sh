#!/bin/sh
# Puts minimta into a system, or takes it out again; `make install` and `make uninstall` call it.
#
#   etc/install.sh install|uninstall PROGRAM
#
# Where things go comes from the environment (the Makefile's variables): PREFIX, SYSCONFDIR, DESTDIR and what follows
# from them. Rules: a file of another program is never replaced; an existing configuration stays; user, group, spool
# and rights are made on the running system alone, that is, by root and without DESTDIR: a package makes them when it is
# installed.
set -eu

PREFIX=${PREFIX:-/usr/local}
SYSCONFDIR=${SYSCONFDIR:-/etc}
DESTDIR=${DESTDIR:-}
SBINDIR=${SBINDIR:-$PREFIX/sbin}
BINDIR=${BINDIR:-$PREFIX/bin}
LIBDIR=${LIBDIR:-$PREFIX/lib}
MANDIR=${MANDIR:-$PREFIX/share/man}
CONFDIR=$SYSCONFDIR/minimta
# Where the program looks for its queue and its configuration when nobody tells it otherwise.
SPOOL=/var/spool/minimta
BUILT_IN=/etc/minimta
OWNER=minimta
HERE=$(dirname "$0")

say() { printf '%s\n' "$*"; }

# Whether this is the system that will run it, and we may change it.
live() { [ -z "$DESTDIR" ] && [ "$(id -u)" = 0 ]; }

# put MODE FILE PLACE: a file of ours, with the places of program and configuration filled in.
put() {
    mkdir -p "$(dirname "$DESTDIR$3")"
    sed -e "s|@SBINDIR@|$SBINDIR|g" -e "s|$BUILT_IN|$CONFDIR|g" "$2" >"$DESTDIR$3.new"
    chmod "$1" "$DESTDIR$3.new"
    mv -f "$DESTDIR$3.new" "$DESTDIR$3"
}

# The names under which others call us, with what each link says. Relative ones survive a mount elsewhere.
links() {
    up=$SBINDIR/minimta
    [ "$SBINDIR" = "$PREFIX/sbin" ] && up=../sbin/minimta
    say "$SBINDIR/sendmail minimta"
    if [ "$BINDIR" = "$PREFIX/bin" ]; then
        say "$BINDIR/mailq $up"
        say "$BINDIR/newaliases $up"
    else
        say "$BINDIR/mailq $SBINDIR/minimta"
        say "$BINDIR/newaliases $SBINDIR/minimta"
    fi
    # Programs of old look there, and only there.
    if [ "$PREFIX" = /usr ]; then say "/usr/lib/sendmail $up"; fi
}

# manuals: the page of each name.
manuals() {
    say "man8/minimta.8 minimta.8"
    say "man5/minimta.toml.5 minimta.toml.5"
    say "man5/minimta-queue.5 minimta-queue.5"
    say "man5/minimta-aliases.5 minimta-aliases.5"
}

# is_ours PLACE TARGET: whether a link leads to this program.
is_ours() {
    case $(readlink "$1" 2>/dev/null || :) in
    "$2" | "$SBINDIR/minimta") return 0 ;;
    *) return 1 ;;
    esac
}

owner() {
    grep -q "^$OWNER:" /etc/group || if command -v groupadd >/dev/null; then groupadd --system "$OWNER"; else addgroup -S "$OWNER"; fi
    grep -q "^$OWNER:" /etc/passwd && return
    shell=/usr/sbin/nologin
    [ -x "$shell" ] || shell=/sbin/nologin
    if command -v useradd >/dev/null; then
        useradd --system --gid "$OWNER" --home-dir "$SPOOL" --no-create-home --shell "$shell" "$OWNER"
    else
        adduser -S -D -H -h "$SPOOL" -s "$shell" -G "$OWNER" "$OWNER"
    fi
}

# What the program may do, and who may look into its files (minimta(8), FILES).
rights() {
    owner
    chown root:"$OWNER" "$SBINDIR/minimta"
    chmod 2755 "$SBINDIR/minimta"
    for folder in '' /tmp /new /cur /hold /state; do
        [ -d "$SPOOL$folder" ] || mkdir -p "$SPOOL$folder"
        chown "$OWNER:$OWNER" "$SPOOL$folder"
        chmod 0770 "$SPOOL$folder"
    done
    chmod 0710 "$SPOOL"
}

install_all() {
    program=$1 made=
    [ -x "$program" ] || { say "$program is not there; run make first, as the user who has cargo" >&2; exit 1; }
    mkdir -p "$DESTDIR$SBINDIR" "$DESTDIR$BINDIR" "$DESTDIR$CONFDIR"
    # A new file under the old name: the one that runs goes on with its own.
    cp "$program" "$DESTDIR$SBINDIR/minimta.new"
    chmod 0755 "$DESTDIR$SBINDIR/minimta.new"
    mv -f "$DESTDIR$SBINDIR/minimta.new" "$DESTDIR$SBINDIR/minimta"
    manuals | while read -r place page; do put 0644 "$HERE/man/$page" "$MANDIR/$place"; done
    for name in sendmail.8 mailq.8 newaliases.8; do
        [ -e "$DESTDIR$MANDIR/man8/$name" ] || ln -s minimta.8 "$DESTDIR$MANDIR/man8/$name"
    done
    for unit in "$HERE"/systemd/*.service "$HERE"/systemd/*.socket "$HERE"/systemd/*.path "$HERE"/systemd/*.timer; do
        put 0644 "$unit" "$LIBDIR/systemd/system/$(basename "$unit")"
    done
    put 0644 "$HERE/systemd/tmpfiles.conf" "$LIBDIR/tmpfiles.d/minimta.conf"
    links | while read -r place target; do
        mkdir -p "$(dirname "$DESTDIR$place")"
        if is_ours "$DESTDIR$place" "$target"; then
            :
        elif [ -e "$DESTDIR$place" ] || [ -L "$DESTDIR$place" ]; then
            say "$DESTDIR$place belongs to another program and stays; remove that one first"
        else
            ln -s "$target" "$DESTDIR$place"
        fi
    done
    if [ -e "$DESTDIR$CONFDIR/minimta.toml" ]; then
        say "$DESTDIR$CONFDIR/minimta.toml is there already and stays"
    else
        put 0640 "$HERE/minimta.toml" "$CONFDIR/minimta.toml"
        made=1
    fi
    if [ "$CONFDIR" != $BUILT_IN ] && ! grep -qF "$CONFDIR/minimta.toml" "$program"; then
        say "this program does not look for $CONFDIR/minimta.toml: build one that does (make all SYSCONFDIR=$SYSCONFDIR), or call it with -C"
    fi
    # These two are where cron and other programs look for them, wherever our own configuration is.
    if [ ! -e "$DESTDIR/etc/cron.d/minimta" ] && { [ -n "$DESTDIR" ] || { live && [ -d /etc/cron.d ]; }; }; then
        put 0644 "$HERE/cron/minimta" /etc/cron.d/minimta
    fi
    # A package leaves it to the machine.
    if live && [ ! -e /etc/aliases ]; then put 0644 "$HERE/aliases" /etc/aliases; fi
    if live; then
        rights
        # What was there keeps the rights it was given.
        if [ -n "$made" ]; then chown root:"$OWNER" "$CONFDIR/minimta.toml"; fi
    elif [ -z "$DESTDIR" ]; then
        say "not installed by root: the program has no rights of its own, and each user a queue of his own ([queue] spool)"
    fi
}

uninstall_all() {
    links | while read -r place target; do
        if is_ours "$DESTDIR$place" "$target"; then rm -f "$DESTDIR$place"; fi
    done
    manuals | while read -r place _; do rm -f "$DESTDIR$MANDIR/$place"; done
    for name in sendmail.8 mailq.8 newaliases.8; do
        if is_ours "$DESTDIR$MANDIR/man8/$name" minimta.8; then rm -f "$DESTDIR$MANDIR/man8/$name"; fi
    done
    for unit in "$HERE"/systemd/*.service "$HERE"/systemd/*.socket "$HERE"/systemd/*.path "$HERE"/systemd/*.timer; do
        name=$(basename "$unit")
        if live && [ -d /run/systemd/system ]; then systemctl disable --now "$name" 2>/dev/null || :; fi
        rm -f "$DESTDIR$LIBDIR/systemd/system/$name"
    done
    rm -f "$DESTDIR$LIBDIR/tmpfiles.d/minimta.conf" "$DESTDIR$SBINDIR/minimta"
    if cmp -s "$DESTDIR/etc/cron.d/minimta" "$HERE/cron/minimta"; then rm -f "$DESTDIR/etc/cron.d/minimta"; fi
    say "left where they are: $DESTDIR$CONFDIR, $DESTDIR$SPOOL with the mail in it, the user and group $OWNER"
}

case ${1:-} in
install) install_all "${2:?the program to install}" ;;
uninstall) uninstall_all ;;
*) say "usage: $0 install PROGRAM | uninstall" >&2; exit 64 ;;
esac
