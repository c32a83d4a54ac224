//! Who is at the other end of the socket, and what they may do.

use std::os::fd::AsFd;
use std::path::Path;

use tokio::net::UnixStream;

use crate::action::Role;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The user.
    pub uid: u32,
    /// The user's first group.
    pub gid: u32,
    /// The process, where the kernel tells it.
    pub pid: Option<i32>,
    /// What they may do; `None`: nothing.
    pub role: Option<Role>,
}

impl Peer {
    /// Whether they may do what this role may.
    pub fn may(&self, role: Role) -> bool {
        self.role.is_some_and(|own| own >= role)
    }
}

/// Who may do what: root, the daemon's own user, two groups.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// The user whom the daemon runs as.
    pub owner: u32,
    /// Members of this group may do everything.
    pub admin: Option<u32>,
    /// Members of this group may look.
    pub read: Option<u32>,
}

impl Policy {
    /// The policy with groups looked up by name in `/etc/group`; a group that is not there has no members.
    pub fn new(owner: u32, admin: &str, read: &str) -> Self {
        let groups = std::fs::read_to_string(Path::new("/etc/group")).unwrap_or_default();
        Self { owner, admin: group(&groups, admin), read: group(&groups, read) }
    }

    /// What a user of these groups may do.
    pub fn role(&self, uid: u32, groups: &[u32]) -> Option<Role> {
        let member = |group: Option<u32>| group.is_some_and(|group| groups.contains(&group));
        if self.rules(uid) || member(self.admin) {
            return Some(Role::Admin);
        }
        member(self.read).then_some(Role::Read)
    }

    /// Whether a user may do everything, whatever their groups.
    fn rules(&self, uid: u32) -> bool {
        uid == 0 || uid == self.owner
    }

    /// Who is at the other end. The kernel noted it when they connected: what they have become since does not count.
    pub fn peer(&self, socket: &UnixStream) -> std::io::Result<Peer> {
        let credentials = socket.peer_cred()?;
        let (uid, gid) = (credentials.uid(), credentials.gid());
        let mut groups = vec![gid];
        if !self.rules(uid) {
            groups.append(&mut weir_sys::peer::groups(socket.as_fd())?);
        }
        Ok(Peer { uid, gid, pid: credentials.pid(), role: self.role(uid, &groups) })
    }
}

/// The number of a group in group(5)'s text.
pub fn group(text: &str, name: &str) -> Option<u32> {
    let fields = text.lines().map(|line| line.split(':'));
    let mut numbers = fields.filter_map(|mut fields| {
        let found = fields.next()? == name && !name.is_empty();
        fields.nth(1)?.parse().ok().filter(|_| found)
    });
    numbers.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_decide() {
        let text = "root:x:0:\nweir:x:990:ann\nweir-ro:x:991:bob,cem\nbroken\n";
        let policy = Policy { owner: 500, admin: group(text, "weir"), read: group(text, "weir-ro") };
        assert_eq!((policy.admin, policy.read, group(text, "nobody")), (Some(990), Some(991), None));
        assert_eq!(policy.role(0, &[]), Some(Role::Admin));
        assert_eq!(policy.role(500, &[]), Some(Role::Admin));
        assert_eq!(policy.role(1000, &[1000, 990]), Some(Role::Admin));
        assert_eq!(policy.role(1000, &[1000, 991]), Some(Role::Read));
        assert_eq!(policy.role(1000, &[1000]), None);
        assert_eq!(Policy { owner: 500, ..Policy::default() }.role(1000, &[0]), None);
    }
}
