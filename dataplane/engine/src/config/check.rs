//! What a configuration may not say, although each word of it is right: names that find nothing, numbers that
//! are taken, keys that do not fit their driver.

use std::collections::BTreeMap;

use super::{Attach, Config, Driver, Gateways, Interface, ProgramEntry, action_word};

impl Config {
    /// Names that refer to something must find it.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.version != 1 {
            return Err(format!("version = {}: this weir reads version 1", self.version));
        }
        if self.interface.is_empty() {
            return Err(
                "there is no interface: add a table such as [interface.wan] with driver = \"pcap\"".into()
            );
        }
        if self.workers.cores.as_ref().is_some_and(Vec::is_empty) {
            return Err("workers.cores is empty: name cores, or leave it out for all".into());
        }
        self.check_ifindexes()?;
        for (name, interface) in &self.interface {
            self.check_interface(name, interface).map_err(|text| format!("interface.{name}: {text}"))?;
        }
        for (at, program) in self.program.iter().enumerate() {
            if self.program[..at].iter().any(|earlier| earlier.name == program.name) {
                return Err(format!("two programs are called `{}`: names must differ", program.name));
            }
            self.check_attach(program)?;
        }
        if let Some(name) = &self.forward.program {
            self.find_program(name, "forward.program")?;
        }
        for (from, to) in &self.forward.connect {
            self.find_interface(from, "forward.connect")?;
            self.find_interface(to, "forward.connect")?;
        }
        for neighbor in &self.neighbor {
            self.find_interface(&neighbor.dev, &format!("neighbor {}", neighbor.address))?;
        }
        for route in &self.route {
            let ways = match &route.via {
                Some(Gateways::Several(ways)) if ways.is_empty() => {
                    return Err(format!("route {}: via is an empty list: name a gateway", route.to));
                }
                Some(Gateways::Several(ways)) => &ways[..],
                Some(Gateways::One(_)) | None => &[],
            };
            for dev in ways.iter().filter_map(|way| way.dev.as_ref()).chain(&route.dev) {
                self.find_interface(dev, &format!("route {}", route.to))?;
            }
        }
        Ok(())
    }

    /// Programs know ports by these numbers, and 0 is none.
    fn check_ifindexes(&self) -> Result<(), String> {
        let mut taken = BTreeMap::new();
        for (name, interface) in &self.interface {
            let Some(ifindex) = interface.ifindex else { continue };
            if ifindex == 0 {
                return Err(format!("interface.{name}: ifindex = 0: numbers start from 1"));
            }
            if let Some(other) = taken.insert(ifindex, name) {
                return Err(format!("interface.{name}: ifindex = {ifindex} is already `{other}`'s"));
            }
        }
        Ok(())
    }

    /// Keys must fit the driver, and the driver must have what it needs.
    fn check_interface(&self, name: &str, interface: &Interface) -> Result<(), String> {
        if interface.driver.is_none() && interface.device.is_none() {
            return Err("give it a device (af_xdp) or a driver".into());
        }
        let driver = interface.driver();
        if driver.is_live() && interface.device.is_none() {
            return Err(format!("driver \"{}\" needs a device", driver.name()));
        }
        let usual = super::Mode::default();
        for (key, given, wanted) in [
            ("mode", interface.mode != usual, Driver::AfXdp),
            ("queues", interface.queues != super::Queues::All, Driver::AfXdp),
            ("ring", interface.ring.is_some(), Driver::AfXdp),
            ("busy_poll", interface.busy_poll.is_some(), Driver::AfXdp),
            ("peer", interface.peer.is_some(), Driver::Memory),
            ("write", interface.write.is_some(), Driver::Pcap),
            ("file", !interface.file.is_empty(), Driver::Pcap),
            ("generate", interface.generate.is_some(), Driver::Pcap),
        ] {
            if given && driver != wanted {
                return Err(format!(
                    "{key} is for driver \"{}\", and this is \"{}\"",
                    wanted.name(),
                    driver.name()
                ));
            }
        }
        if let Some(ring) =
            interface.ring.filter(|ring| !ring.is_power_of_two() || !(64..=65536).contains(ring))
        {
            return Err(format!("ring = {ring}: wanted a power of two from 64 to 65536"));
        }
        self.check_peer(name, interface)
    }

    /// Both ends of a wire must name each other.
    fn check_peer(&self, name: &str, interface: &Interface) -> Result<(), String> {
        if interface.driver() != Driver::Memory {
            return Ok(());
        }
        let Some(peer) = &interface.peer else { return Ok(()) };
        if peer == name {
            return Err("its peer is itself: name another interface of driver \"memory\"".into());
        }
        self.find_interface(peer, "peer")?;
        let other = &self.interface[peer];
        if other.driver() != Driver::Memory || other.peer.as_deref() != Some(name) {
            return Err(format!(
                "its peer `{peer}` does not name it back: add driver = \"memory\", peer = \"{name}\" there"
            ));
        }
        Ok(())
    }

    fn check_attach(&self, program: &ProgramEntry) -> Result<(), String> {
        let place = format!("program `{}`", program.name);
        let interface = match &program.attach {
            None => return Ok(()),
            Some(Attach::Xdp { interface, .. }) => interface,
            Some(Attach::Tc { interface, action, da, .. }) => {
                if *da && !action.is_empty() {
                    return Err(format!(
                        "{place}: da = true and an action list: a direct-action program is its own action"
                    ));
                }
                for word in action {
                    if action_word(word).is_none() {
                        self.find_program(word, &format!("{place}, action"))?;
                    }
                }
                interface
            }
        };
        interface.as_ref().map_or(Ok(()), |name| self.find_interface(name, &place))
    }

    fn find_program(&self, name: &str, place: &str) -> Result<(), String> {
        let names: Vec<&str> = self.program.iter().map(|program| program.name.as_str()).collect();
        find("program", name, place, &names)
    }

    fn find_interface(&self, name: &str, place: &str) -> Result<(), String> {
        let names: Vec<&str> = self.interface.keys().map(String::as_str).collect();
        find("interface", name, place, &names)
    }
}

fn find(what: &str, name: &str, place: &str, names: &[&str]) -> Result<(), String> {
    if names.contains(&name) {
        return Ok(());
    }
    Err(format!("{place}: there is no {what} `{name}`; there is {}", listed(names)))
}

/// Names as a sentence lists them.
pub(crate) fn listed(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { format!("`{}`", names.join("`, `")) }
}
