//! Who gets a place, and when.

use super::*;
use crate::host::spool::Folder;
use crate::proto::address::Domain;
use crate::proto::route::Protection;

fn errand(id: &str) -> Errand {
    Errand {
        item: Item {
            id: id.to_owned(),
            folder: Folder::New,
            due: 0,
        },
        claim: None,
        whose: 0,
    }
}

/// One user's mail, by the first letter of its id: others get on, and his goes on as it did.
#[test]
fn no_user_has_more_than_his_part_of_a_lane() {
    let lanes = Lanes::new(Duration::ZERO, 1, Arc::default());
    let width = Width {
        most: 4,
        of_one: 2,
        worth: 1,
        remote: false,
    };
    let add = |id: &str, whose| {
        let errand = Errand {
            whose,
            ..errand(id)
        };
        lanes.add(errand, vec![(Hop::Local, width)]);
    };
    for id in ["a1", "a2", "a3", "a4", "a5"] {
        add(id, 1);
    }
    add("b1", 2);
    let next = |place: &mut Place<'_>| place.next().map(|errand| errand.item.id);
    let begin = || {
        let mut place = lanes.join().unwrap();
        let id = next(&mut place).unwrap_or_default();
        (place, id)
    };
    let ((mut one, first), (two, second), (mut three, third)) = (begin(), begin(), begin());
    assert_eq!([first, second, third], ["a1", "a2", "b1"]);
    // The rest is one user's, and nobody is wanted for it; but it waits.
    assert_eq!((lanes.places(), lanes.waiting()), (0, 3));
    assert!(lanes.join().is_none() && lanes.has("a5"));
    add("a6", 1);
    assert_eq!((lanes.places(), lanes.waiting()), (0, 4));
    add("c1", 3);
    add("c2", 3);
    assert_eq!(lanes.places(), 1);
    assert_eq!(next(&mut three).unwrap(), "c1");
    // As his are done, those behind follow, in their order.
    assert_eq!(next(&mut one).unwrap(), "c2");
    assert_eq!(next(&mut three).unwrap(), "a3");
    drop(two);
    assert_eq!(next(&mut one).unwrap(), "a4");
    assert_eq!(next(&mut three).unwrap(), "a5");
    assert_eq!(next(&mut three).unwrap(), "a6");
    assert_eq!((next(&mut three), next(&mut one)), (None, None));
    assert_eq!((lanes.open(), lanes.waiting()), (0, 0));
    // What stands behind is taken away, too.
    for id in ["a7", "a8", "a9"] {
        add(id, 1);
    }
    let began = [next(&mut one), next(&mut three)];
    let mut two = lanes.join().unwrap();
    assert_eq!(next(&mut two), None);
    let left = lanes.clear();
    let left: Vec<&str> = left.iter().map(|errand| &*errand.item.id).collect();
    assert!(began.iter().all(Option::is_some) && left == ["a9"]);
    drop((one, two, three));
    assert!(lanes.open() == 0 && lanes.lock().lanes.is_empty());
}

#[test]
fn a_lane_has_its_limit_and_a_message_is_here_once() {
    let lanes = Lanes::new(Duration::ZERO, 2, Arc::default());
    let width = |most, remote| Width {
        most,
        of_one: most,
        worth: 1,
        remote,
    };
    for id in ["a", "b", "c"] {
        lanes.add(errand(id), vec![(Hop::Smarthost, width(4, true))]);
    }
    lanes.add(errand("a"), vec![(Hop::Smarthost, width(4, true))]);
    lanes.add(
        errand("d"),
        vec![
            (Hop::Local, width(4, false)),
            (Hop::Smarthost, width(4, true)),
        ],
    );
    assert_eq!((lanes.waiting(), lanes.places()), (5, 3));
    let mut local = lanes.join().unwrap();
    assert_eq!(local.hop, Hop::Local);
    assert_eq!(local.next().unwrap().item.id, "d");
    assert!(local.next().is_none());
    let (mut one, two) = (lanes.join().unwrap(), lanes.join().unwrap());
    assert!(lanes.join().is_none());
    assert_eq!(one.next().unwrap().item.id, "a");
    assert!(lanes.has("a") && lanes.has("d"));
    drop(two);
    assert!(lanes.join().is_some());
    for id in ["b", "c", "d"] {
        assert_eq!(one.next().unwrap().item.id, id);
    }
    assert!(!lanes.has("a"));
    assert!(one.next().is_none());
    drop((one, local));
    assert!(!lanes.has("d") && lanes.join().is_none() && lanes.workers() == 0);
}

/// An old run that is slow, and a new one: together they have what the configuration says, and the new one has at
/// least one worker.
#[test]
fn runs_that_overlap_share_their_bounds() {
    let census = Arc::new(Census::default());
    let run = || Lanes::new(Duration::ZERO, 3, Arc::clone(&census));
    let width = Width {
        most: 2,
        of_one: 2,
        worth: 1,
        remote: true,
    };
    let fill = |lanes: &Lanes, hop: &Hop| {
        for id in ["a", "b", "c", "d"] {
            lanes.add(errand(&format!("{id}{hop:?}")), vec![(hop.clone(), width)]);
        }
    };
    let [one, two, three] = ["one", "two", "three"]
        .map(|name| Hop::Mx(Domain::parse(name).unwrap(), Protection::Opportunistic));
    let (old, new) = (run(), run());
    fill(&old, &one);
    let held = [old.join().unwrap(), old.join().unwrap()];
    assert_eq!(old.places(), 0);
    fill(&new, &one);
    assert!(
        new.places() == 0 && new.join().is_none(),
        "it has two already"
    );
    fill(&new, &two);
    let first = new.join().unwrap();
    assert!(
        new.places() == 0 && new.join().is_none(),
        "three are at work"
    );
    drop(first);
    fill(&old, &three);
    let third = old.join().unwrap();
    assert_eq!(new.places(), 1, "they may be at work for long");
    let least = new.join().unwrap();
    assert!(least.hop == two && new.places() == 0 && new.join().is_none());
    drop((held, third));
    assert_eq!(new.places(), 2);
    drop((new.join().unwrap(), least));
    assert_eq!(census.lock().all, 0);
    assert!(census.lock().lanes.is_empty());
}
