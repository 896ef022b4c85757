//! The search for the octets that mean something in a text. Nearly all of a message is passed over by it, eight octets at
//! a time: one by one that was half of the work on a long message.

/// The control characters that anybody looks for are below this one.
const BEYOND: u64 = 14;
/// A one in each octet.
const ONES: u64 = u64::MAX / 255;
/// The highest bit of each octet.
const HIGHEST: u64 = ONES << 7;

/// Where the first octet stands that `is` one of those looked for: CR, or a control character before it.
pub fn find(octets: &[u8], is: impl Fn(u8) -> bool) -> Option<usize> {
    let (eights, rest) = octets.as_chunks::<8>();
    let mut at = 0;
    for eight in eights {
        if !is_text(u64::from_le_bytes(*eight))
            && let Some(place) = eight.iter().position(|octet| is(*octet))
        {
            return Some(at + place);
        }
        at += 8;
    }
    let last = rest.iter().position(|octet| is(*octet));
    last.map(|place| at + place)
}

/// Whether eight octets are text without such a character. The difference has an octet's highest bit set, which the octet
/// itself had not, if the octet is less; a borrow may do that too, but only above one that is.
fn is_text(octets: u64) -> bool {
    octets.wrapping_sub(ONES * BEYOND) & !octets & HIGHEST == 0
}

#[cfg(test)]
mod tests {
    use super::find;
    use crate::proto::below;

    #[test]
    fn what_is_looked_for_is_found_at_every_place_and_nothing_else_is() {
        let is = |octet: u8| matches!(octet, 0 | b'\n' | b'\r');
        for other in below(256).map(|n| u8::try_from(n).unwrap()) {
            for length in 0..20 {
                let mut text = vec![other; length];
                let first = (is(other) && length > 0).then_some(0);
                assert_eq!(find(&text, is), first, "{length} of {other}");
                for at in 0..length {
                    for wanted in *b"\0\n\r" {
                        text[at] = wanted;
                        let found = find(&text, is);
                        assert_eq!(found, first.or(Some(at)), "{wanted} at {at} of {text:?}");
                        text[at] = other;
                    }
                }
            }
        }
        assert_eq!(
            find(b"text\r\nof two lines\r\n", |octet| octet == b'\n'),
            Some(5)
        );
    }
}
