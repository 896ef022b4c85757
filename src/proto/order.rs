//! Lists put in order. The standard library's sort is 4 KiB of code for each kind of list that it is used for; here it
//! sorts numbers, for all.

use std::cmp::Ordering;

/// Puts a list in order; what is equal stays as it stood.
pub fn sort<T>(items: &mut [T], compare: &dyn Fn(&T, &T) -> Ordering) {
    let mut from = places(items.len(), &|a, b| match (items.get(a), items.get(b)) {
        (Some(a), Some(b)) => compare(a, b),
        _ => Ordering::Equal,
    });
    // What is to come to a place stands at `from`, and what stood there goes where that came from: in circles, each of
    // which ends where it began. All are places in the list, each once.
    for first in 0..from.len() {
        let mut at = first;
        loop {
            let next = std::mem::replace(&mut from[at], at);
            if next == first {
                break;
            }
            items.swap(at, next);
            at = next;
        }
    }
}

/// The places of a list in the order in which their items belong.
fn places(count: usize, compare: &dyn Fn(usize, usize) -> Ordering) -> Vec<usize> {
    let mut places: Vec<usize> = (0..count).collect();
    places.sort_by(|a, b| compare(*a, *b));
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All lists of up to six items of three kinds, as the library sorts them.
    #[test]
    fn every_short_list_is_sorted_and_what_is_equal_keeps_its_order() {
        for length in 0..=6 {
            for number in 0..3_usize.pow(length) {
                let kinds = (0..length).map(|place| number / 3_usize.pow(place) % 3);
                let mut items: Vec<(usize, u32)> = kinds.zip(0..).collect();
                let mut expected = items.clone();
                expected.sort_by_key(|(kind, _)| *kind);
                sort(&mut items, &|a, b| a.0.cmp(&b.0));
                assert_eq!(items, expected);
            }
        }
    }
}
