//! Who has to leave when the pool fills, and when.

use super::*;
use std::os::unix::net::UnixStream;

const BOUNDS: Bounds = Bounds {
    all: 5,
    per_client: 2,
};

/// A client that has come in; its other end is closed, which nobody here looks at.
fn visit(connections: &Arc<Connections>) -> Result<Visit, Reply> {
    let (socket, _) = UnixStream::pair().unwrap();
    connections.admit(Arc::new(Socket::Unix(socket)), None, BOUNDS)
}

/// It has been silent for so long.
fn silent(visit: &Visit, milliseconds: u64, standing: Standing) {
    let since = Instant::now().checked_sub(Duration::from_millis(milliseconds));
    *visit.seat.phase() = Phase::Waiting(since.unwrap(), standing);
}

#[test]
fn who_has_come_least_far_and_was_silent_for_longest_goes_first() {
    use Standing::{Between, Fresh, Inside};
    // What each of five does, and who goes for a sixth.
    let rows = [
        (
            [
                (600, Fresh),
                (900, Fresh),
                (700, Fresh),
                (9000, Between),
                (9000, Inside),
            ],
            Some(1),
        ),
        (
            [
                (100, Fresh),
                (100, Fresh),
                (9000, Between),
                (8000, Between),
                (99_000, Inside),
            ],
            Some(2),
        ),
        (
            [
                (100, Fresh),
                (100, Fresh),
                (2000, Between),
                (6000, Inside),
                (7000, Inside),
            ],
            Some(4),
        ),
        (
            [
                (400, Fresh),
                (400, Fresh),
                (2000, Between),
                (2000, Inside),
                (2000, Inside),
            ],
            None,
        ),
    ];
    for (number, (states, expected)) in rows.into_iter().enumerate() {
        let connections = Arc::new(Connections::default());
        let visits: Vec<Visit> = states
            .iter()
            .map(|_| visit(&connections).unwrap())
            .collect();
        for (visit, (milliseconds, standing)) in visits.iter().zip(states) {
            silent(visit, milliseconds, standing);
        }
        assert_eq!(visit(&connections).err(), Some(replies::TOO_BUSY));
        assert_eq!(connections.make_room(), expected.is_some(), "row {number}");
        let gone: Vec<usize> = (0..5).filter(|i| visits[*i].seat.is_leaving()).collect();
        assert_eq!(gone, Vec::from_iter(expected), "row {number}");
        // His place is free before he has left.
        assert_eq!(
            visit(&connections).is_ok(),
            expected.is_some(),
            "row {number}"
        );
        if let Some(index) = expected {
            assert!(visits[index].go_on().is_err());
        }
    }
}

#[test]
fn in_a_flood_all_have_less_time() {
    let now = Instant::now();
    let after = |milliseconds| now + Duration::from_millis(milliseconds);
    // How many of five places' newcomers were turned away, and when; whether that is a flood then.
    let rows: [(&[u64], u64, bool); 7] = [
        (&[], 0, false),
        (&[0, 10], 20, false),
        (&[0, 10, 20], 20, true),
        (&[0, 10, 20], 1900, true),
        (&[0, 10, 20], 2100, false),
        (&[0, 10, 20, 1500], 2900, true),
        (&[0, 900, 1800, 2700, 3600], 3600, false),
    ];
    for (turned_away, later, flood) in rows {
        let connections = Arc::new(Connections::default());
        let visit = visit(&connections).unwrap();
        for milliseconds in turned_away {
            connections.turned_away(after(*milliseconds));
        }
        let state = connections.lock();
        let is_flood = state.is_flood(BOUNDS.all, after(later));
        assert_eq!(is_flood, flood, "{turned_away:?} {later}");
        for bound in [SHORTEST, LINGER, CROWDED] {
            let hurried = state.hurried(bound, BOUNDS.all, after(later));
            assert_eq!(hurried, if flood { HURRIED } else { bound });
        }
        drop((state, visit));
    }
}

/// However many come, only so many are on their way out at once: each still holds a thread.
#[test]
fn a_few_leave_at_a_time() {
    let connections = Arc::new(Connections::default());
    let mut visits = Vec::new();
    for _ in 0..50 {
        let came = visit(&connections).or_else(|_| {
            connections.make_room();
            visit(&connections)
        });
        if let Ok(visit) = came {
            silent(&visit, 700, Standing::Fresh);
            visits.push(visit);
        }
    }
    assert_eq!(connections.count(), BOUNDS.all + LEAVING);
    visits.retain(|visit| !visit.seat.is_leaving());
    assert_eq!(
        (visits.len(), connections.count()),
        (BOUNDS.all, BOUNDS.all)
    );
}

#[test]
fn silence_is_short_when_it_is_tight() {
    // At four of five places.
    for (count, gone) in [(3, 0), (4, 2)] {
        let connections = Arc::new(Connections::default());
        let visits: Vec<Visit> = (0..count).map(|_| visit(&connections).unwrap()).collect();
        silent(&visits[0], 11_000, Standing::Fresh);
        silent(&visits[1], 11_000, Standing::Inside);
        silent(&visits[2], 9_000, Standing::Between);
        assert_eq!(visits[0].is_tight(), gone > 0);
        connections.thin_out(Instant::now());
        let leaving = visits.iter().filter(|visit| visit.seat.is_leaving());
        assert_eq!(leaving.count(), gone, "{count}");
    }
}
