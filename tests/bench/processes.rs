//! What is known of processes, from /proc: of this process's children, and of all that these have started.

use std::fs;

/// A process, as far as the bench is interested in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub id: i32,
    pub parent: i32,
    /// Its main thread sleeps.
    pub asleep: bool,
    /// Ticks on a processor: its own, and those of its children that have ended.
    pub ticks: u64,
    /// Nanoseconds on a processor, and what else the scheduler counts of its main thread.
    pub ran: String,
}

/// All that this process has started, directly or not, and that has not ended.
pub fn descendants() -> Vec<Process> {
    let mut all: Vec<Process> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(read)
        .collect();
    let mut found: Vec<Process> = Vec::new();
    let mut above = vec![i32::try_from(std::process::id()).unwrap_or_default()];
    while let Some(parent) = above.pop() {
        let (of_it, others) = all.into_iter().partition(|p| p.parent == parent);
        let of_it: Vec<Process> = of_it;
        above.extend(of_it.iter().map(|p| p.id));
        found.extend(of_it);
        all = others;
    }
    found
}

/// What has gone in the meantime has nothing to read.
fn read(id: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // A name may have blanks and parentheses in it.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let number = |at: usize| fields.get(at).and_then(|f| f.parse::<u64>().ok());
    Some(Process {
        id,
        parent: fields.get(1)?.parse().ok()?,
        asleep: fields.first() == Some(&"S"),
        ticks: (11..15).filter_map(number).sum(),
        ran: fs::read_to_string(format!("/proc/{id}/schedstat")).unwrap_or_default(),
    })
}
