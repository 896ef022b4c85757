//! Disks that a path waits for: what is made below the place of one that is not mounted is hidden as soon as it is.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Where disks are to be mounted, fstab(5).
const WANTED: &str = "/etc/fstab";
/// Where they are, proc_pid_mountinfo(5).
const MOUNTED: &str = "/proc/self/mountinfo";
/// Longer ones are not read to their end.
const MOST: u64 = 1024 * 1024;

/// The place above a path at which a disk is to be mounted, and none is.
pub fn awaited(path: &Path) -> Option<PathBuf> {
    let read = |name: &str| super::read_bounded(Path::new(name), MOST).ok();
    let above = path.parent()?.canonicalize().ok()?;
    awaited_in(&read(WANTED)?, &read(MOUNTED)?, &above)
}

fn awaited_in(wanted: &[u8], mounted: &[u8], folder: &Path) -> Option<PathBuf> {
    let mounted: Vec<PathBuf> = places(mounted, 4).collect();
    places(wanted, 1).find(|place| folder.starts_with(place) && !mounted.contains(place))
}

/// This field of each line, the first being 0, if it is a whole path.
fn places(text: &[u8], field: usize) -> impl Iterator<Item = PathBuf> {
    let lines = text.split(|octet| *octet == b'\n');
    lines.filter_map(move |line| {
        let mut fields = line
            .split(u8::is_ascii_whitespace)
            .filter(|field| !field.is_empty());
        let first = fields.next().filter(|first| !first.starts_with(b"#"))?;
        let place = match field {
            0 => first,
            _ => fields.nth(field - 1)?,
        };
        let place = PathBuf::from(OsString::from_vec(unescaped(place)));
        place.is_absolute().then_some(place)
    })
}

/// White space and backslashes stand as their octal numbers: `\040`.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((octet, more)) = rest.split_first() {
        let number = more.first_chunk::<3>().filter(|_| *octet == b'\\');
        let number = number.filter(|digits| digits.iter().all(u8::is_ascii_digit));
        let number = number.and_then(|digits| std::str::from_utf8(digits).ok());
        match number.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(number) => {
                octets.push(number);
                rest = more.get(3..).unwrap_or_default();
            }
            None => {
                octets.push(*octet);
                rest = more;
            }
        }
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_waits_for_the_disk_that_is_wanted_above_it() {
        let fstab = b"# /dev/sdb1 /srv/none ext4\nLABEL=root / ext4 defaults 0 1\nLABEL=a /srv/disk/ ext4 nofail\n\
            /swap none swap sw\nLABEL=b\t/srv/my\\040disk ext4\nLABEL=c /srv/my\\040disk/deep ext4\n/srv/broken\n";
        let rows: &[(&[u8], &str, Option<&str>)] = &[
            (b"", "/", Some("/")),
            (b"/", "/srv", None),
            (b"/", "/srv/none", None),
            (b"/", "/srv/disk", Some("/srv/disk")),
            (b"/", "/srv/disk/mail", Some("/srv/disk")),
            (b"/", "/srv/disks", None),
            (b"/ /srv/disk", "/srv/disk/mail", None),
            (b"/", "/srv/my disk", Some("/srv/my disk")),
            (b"/ /srv/my\\040disk", "/srv/my disk", None),
            (
                b"/ /srv/my\\040disk",
                "/srv/my disk/deep/er",
                Some("/srv/my disk/deep"),
            ),
            (b"/", "/srv/broken", None),
        ];
        for (mounted, folder, expected) in rows {
            let lines = mounted.split(|octet| *octet == b' ');
            let lines: Vec<u8> = lines
                .flat_map(|place| {
                    [b"36 35 98:0 /mnt ", place, b" rw,noatime - ext4 x rw\n"].concat()
                })
                .collect();
            let found = awaited_in(fstab, &lines, Path::new(folder));
            assert_eq!(found.as_deref(), expected.map(Path::new), "{folder}");
        }
    }

    #[test]
    fn numbers_of_fields_stand_for_octets() {
        let rows: &[(&[u8], &[u8])] = &[
            (b"a\\040b", b"a b"),
            (b"\\134", b"\\"),
            (b"\\", b"\\"),
            (b"\\04", b"\\04"),
            (b"\\999\\777", b"\\999\\777"),
            (b"\\+12", b"\\+12"),
        ];
        for (field, expected) in rows {
            assert_eq!(unescaped(field), *expected, "{field:?}");
        }
    }
}
