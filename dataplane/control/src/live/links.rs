//! What is attached where.

use weir_engine::config::{Attach, Direction, ProgramEntry};
use weir_engine::live::Change;

use super::{LiveBackend, missing, programs};
use crate::problem::{Cause, Problem};
use crate::reply::{self, schema};
use crate::server::Given;

/// A word of the configuration as it writes it.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn link(entry: &ProgramEntry, id: u32) -> Option<reply::Link> {
    let mut link = reply::Link { program: entry.name.clone(), program_id: id, ..Default::default() };
    let place = match entry.attach.as_ref()? {
        Attach::Xdp { interface, prio, actions } => {
            link.hook = "xdp".to_owned();
            link.interface.clone_from(interface);
            link.prio = *prio;
            link.actions = actions.iter().map(word).collect();
            "xdp"
        }
        Attach::Tc { interface, direction, prio, da, classid, action: _ } => {
            let (hook, place) = match direction {
                Direction::Ingress => ("tc ingress", "ingress"),
                Direction::Egress => ("tc egress", "egress"),
            };
            link.hook = hook.to_owned();
            link.interface.clone_from(interface);
            (link.prio, link.direct_action) = (*prio, *da);
            link.classid = classid.map(|classid| classid.to_string());
            place
        }
    };
    link.name = format!("{}@{}:{place}", entry.name, link.interface.as_deref().unwrap_or("all"));
    Some(link)
}

impl LiveBackend {
    pub(super) fn links(&self) -> reply::Links {
        let current = self.current();
        let config = &current.desired.config;
        let mut links: Vec<reply::Link> = config
            .program
            .iter()
            .filter_map(|entry| link(entry, programs::id(&current, &entry.name)))
            .collect();
        links.sort_by(|a, b| (&a.interface, &a.hook, a.prio).cmp(&(&b.interface, &b.hook, b.prio)));
        links.extend(config.forward.program.iter().map(|program| reply::Link {
            name: format!("{program}@all:forward"),
            program: program.clone(),
            program_id: programs::id(&current, program),
            hook: "forward".to_owned(),
            ..Default::default()
        }));
        reply::Links { schema: schema("links"), links }
    }

    pub(super) fn link(&self, name: &str) -> Result<reply::Link, Problem> {
        let links = self.links().links;
        let names: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
        links.iter().find(|link| link.name == name).cloned().ok_or_else(|| missing("link", name, &names))
    }

    pub(super) fn attach(&self, to: &reply::AttachTo, dry_run: bool) -> Result<Given, Problem> {
        let program = self.program_name(&to.program)?;
        let hook = word(&to.hook);
        let mut attach =
            serde_json::json!({ "hook": hook, "interface": to.interface, "prio": to.prio.unwrap_or(100) });
        match to.hook {
            reply::Hook::Xdp if to.direction.is_some() || to.direct_action => {
                return Err(Problem::new(Cause::Invalid, "`direction` and `direct_action` are for tc"));
            }
            reply::Hook::Tc if !to.actions.is_empty() => {
                return Err(Problem::new(Cause::Invalid, "`actions` is for xdp"));
            }
            reply::Hook::Xdp if to.actions.is_empty() => {}
            reply::Hook::Xdp => attach["actions"] = serde_json::to_value(&to.actions).unwrap_or_default(),
            reply::Hook::Tc => {
                attach["direction"] = word(&to.direction.unwrap_or_default()).into();
                attach["da"] = to.direct_action.into();
            }
        }
        let attach = serde_json::from_value(attach)
            .map_err(|error| Problem::new(Cause::Invalid, error.to_string()))?;
        self.apply(&Change::Attach { program, attach }, &Default::default(), dry_run)
    }

    /// The program of a link that can be taken away.
    fn linked(&self, name: &str) -> Result<String, Problem> {
        let link = self.link(name)?;
        if link.hook == "forward" {
            let detail = "the forward stage has one program: change `forward.program` in the configuration";
            return Err(Problem::new(Cause::Conflict, detail));
        }
        Ok(link.program)
    }

    pub(super) fn detach(&self, name: &str) -> Result<Given, Problem> {
        let program = self.linked(name)?;
        self.apply(&Change::Detach { program }, &Default::default(), false)
    }

    pub(super) fn link_replace(&self, name: &str, with: &reply::LinkTarget) -> Result<Given, Problem> {
        let (program, with) = (self.linked(name)?, self.program_name(&with.program)?);
        let edit = |config: &mut weir_engine::Config| {
            let mut entries = config.program.iter_mut();
            let attach = entries.find(|entry| entry.name == program).and_then(|entry| entry.attach.take());
            if let Some(entry) = config.program.iter_mut().find(|entry| entry.name == with) {
                entry.attach = attach;
            }
            Ok(())
        };
        self.edit(edit, false)
    }
}
