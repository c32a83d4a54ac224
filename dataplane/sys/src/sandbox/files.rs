//! Paths that may still be opened, TCP ports that may be listened on, and no signals to others (landlock(7)).

use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, NetPort,
    PathBeneath, PathFd, RestrictionStatus, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr,
    RulesetError, RulesetStatus, Scope,
};

use super::State;

/// The newest rules of landlock that weir knows; an older kernel holds what it can.
const KNOWN: ABI = ABI::V7;

/// What may still be used, each path with all that is below it. What is not there now is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// To read.
    pub read: Vec<PathBuf>,
    /// To read, write, make and remove.
    pub write: Vec<PathBuf>,
    /// TCP ports to listen on.
    pub listen: Vec<u16>,
}

pub(super) fn restrict(files: &Files) -> State {
    match try_restrict(files) {
        Err(error) => State::Off(error.to_string()),
        Ok(status) => match (status.ruleset, status.landlock) {
            (RulesetStatus::NotEnforced, _) => {
                State::Off("this kernel has no landlock, or it is not on".to_owned())
            }
            (RulesetStatus::PartiallyEnforced, LandlockStatus::Available { effective_abi, .. }) => {
                State::Partly(format!(
                    "this kernel has landlock's rules up to version {}",
                    effective_abi as i32
                ))
            }
            (RulesetStatus::PartiallyEnforced, _) => {
                State::Partly("this kernel has an older landlock".to_owned())
            }
            (RulesetStatus::FullyEnforced, _) => State::On(format!("landlock {}", KNOWN as i32)),
        },
    }
}

fn try_restrict(files: &Files) -> Result<RestrictionStatus, RulesetError> {
    let created = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(Scope::Signal)?
        .create()?;
    // Files are looked at, never executed.
    let read = AccessFs::from_read(KNOWN) & !BitFlags::from(AccessFs::Execute);
    let write = AccessFs::from_all(KNOWN) & !(AccessFs::Execute | AccessFs::MakeChar | AccessFs::MakeBlock);
    let created = allow(created, &files.read, read)?;
    let mut created = allow(created, &files.write, write)?;
    for port in &files.listen {
        created = created.add_rule(NetPort::new(*port, AccessNet::BindTcp))?;
    }
    // Said for all layers together (`Layer::NoNewPrivileges`); without it, and without privileges, this fails.
    created.no_new_privs(false).restrict_self()
}

fn allow(
    mut created: RulesetCreated,
    paths: &[PathBuf],
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    for path in paths {
        let Ok(opened) = PathFd::new(path) else { continue };
        // Rights of folders mean nothing for a file, and naming them would count as a rule not kept.
        let access = if path.is_dir() { access } else { access & AccessFs::from_file(KNOWN) };
        created = created.add_rule(PathBeneath::new(opened, access))?;
    }
    Ok(created)
}
