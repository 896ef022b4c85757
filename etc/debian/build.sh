#!/bin/sh
# Builds the Debian package from a built program: `make deb`. What is in it is what `make install` puts into DESTDIR, and
# what stands beside this file; dpkg-deb is all it needs.
#
#   etc/debian/build.sh PROGRAM FOLDER      prints the package's path
set -eu

program=$1 folder=$2
here=$(dirname "$0")
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$here/../../Cargo.toml" | head -1)
arch=${DEB_ARCH:-$(dpkg --print-architecture)}
# Reproducible: the same source gives the same package.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(stat -c %Y "$here/../../Cargo.toml")}
export SOURCE_DATE_EPOCH

tree=$folder/tree
rm -rf "$tree"
mkdir -p "$tree/DEBIAN"
umask 022
# Every place is said: make hands on those of its own.
env DESTDIR="$tree" PREFIX=/usr SYSCONFDIR=/etc SBINDIR=/usr/sbin BINDIR=/usr/bin LIBDIR=/lib MANDIR=/usr/share/man \
    "$here/../install.sh" install "$program"
# Until the package's own script knows the group.
chmod 0644 "$tree/etc/minimta/minimta.toml"
doc=$tree/usr/share/doc/minimta
mkdir -p "$doc"
{ cat "$here/copyright"; sed '1,/^Copyright/d; s/^$/./; s/^/ /' "$here/../../LICENSE"; } >"$doc/copyright"
# The last change a package of this version has: that there is one.
printf 'minimta (%s) unstable; urgency=medium\n\n  * See https://github.com/minimta/minimta for what has changed.\n\n -- The minimta developers <minimta@users.noreply.github.com>  %s\n' \
    "$version" "$(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")" | gzip -9n >"$doc/changelog.gz"
find "$tree/usr/share/man" -type f -exec gzip -9n {} +
find "$tree/usr/share/man" -type l | while read -r link; do
    ln -s "$(readlink "$link").gz" "$link.gz"
    rm "$link"
done

# The C library must be as new as the newest of its symbols that the program names.
libc=$(grep -ao 'GLIBC_2\.[0-9]*' "$program" | sort -uV | tail -1 | sed 's/GLIBC_//')
if grep -aq GLIBC_ABI_DT_RELR "$program" && [ "$(printf '%s\n2.36\n' "$libc" | sort -V | tail -1)" = 2.36 ]; then libc=2.36; fi
size=$(du -k -s --exclude=DEBIAN "$tree" | cut -f1)
sed "s/@VERSION@/$version/; s/@ARCH@/$arch/; s/@SIZE@/$size/; s/@LIBC@/${libc:+, libc6 (>= $libc)}/" "$here/control.in" >"$tree/DEBIAN/control"
install -m 0644 "$here/conffiles" "$tree/DEBIAN/conffiles"
for script in postinst prerm postrm; do install -m 0755 "$here/$script" "$tree/DEBIAN/$script"; done
(cd "$tree" && find . -path ./DEBIAN -prune -o -type f -printf '%P\n' | LC_ALL=C sort | xargs md5sum) >"$tree/DEBIAN/md5sums"
package=$folder/minimta_${version}_$arch.deb
dpkg-deb --root-owner-group --build "$tree" "$package" >&2
printf '%s\n' "$package"
