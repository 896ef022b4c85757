use crate::config::Smarthost;
use crate::proto::address::*;
use crate::proto::client::Letter;
use crate::proto::envelope::*;
use crate::proto::reply::Enhanced;
pub struct Connection;
impl Connection {
    pub fn open(s: &Smarthost, _h: &Domain, _v: bool) -> Result<Self, Outcome> {
        Err(Outcome::new(
            Verdict::Deferred,
            None,
            Enhanced(4, 4, 1),
            &s.host,
            "stub",
        ))
    }
    pub fn deliver<'a>(
        &mut self,
        _l: &Letter<'_>,
        _s: &mut dyn FnMut() -> std::io::Result<Box<dyn std::io::Read + 'a>>,
    ) -> Result<Vec<Outcome>, super::Damaged> {
        Ok(vec![])
    }
    pub fn close(self) {}
    pub fn is_usable(&self) -> bool {
        false
    }
    pub fn is_reused(&self) -> bool {
        false
    }
    pub fn is_stale(&self) -> bool {
        false
    }
    pub fn description(&self) -> String {
        String::new()
    }
    pub fn ask(&mut self, _s: Option<&Mailbox>, _a: &Mailbox) -> Result<String, String> {
        Err(String::new())
    }
}
