//! A list of system calls as a seccomp filter (seccomp(2)), by seccompiler.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};

use super::calls::{Argument, Call, Role};

/// Allows the calling thread, and those it starts, the calls of `role` and no other; answers how many they are.
pub(super) fn install(role: Role) -> Result<usize, String> {
    let lists = role.calls();
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for call in lists.iter().copied().flatten() {
        add(&mut rules, call).map_err(|error| format!("{}: {error}", call.name))?;
    }
    let count = rules.len();
    let softly = role.softly();
    if !softly.is_empty() {
        // A second filter, for calls whose absence the C library knows how to live with. Allowing them in the first
        // allows nothing: the stricter answer of the two counts.
        let mut refused = BTreeMap::new();
        for call in softly.iter().copied().flatten() {
            rules.insert(call.number, Vec::new());
            refused.insert(call.number, Vec::new());
        }
        apply(refused, SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS as u32))?;
    }
    apply(rules, SeccompAction::Trap, SeccompAction::Allow)?;
    Ok(count)
}

fn apply(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    action: SeccompAction,
) -> Result<(), String> {
    let arch: TargetArch = std::env::consts::ARCH.try_into().map_err(|error| format!("{error}"))?;
    let filter = SeccompFilter::new(rules, otherwise, action, arch).map_err(|error| error.to_string())?;
    let program: BpfProgram =
        filter.try_into().map_err(|error: seccompiler::BackendError| error.to_string())?;
    apply_filter(&program).map_err(|error| match error {
        seccompiler::Error::Prctl(source) | seccompiler::Error::Seccomp(source) => {
            format!("this kernel refuses seccomp filters: {source}")
        }
        other => other.to_string(),
    })
}

/// A call without conditions is a number with no rules; one with several alternatives has a rule for each.
fn add(rules: &mut BTreeMap<i64, Vec<SeccompRule>>, call: &Call) -> Result<(), seccompiler::BackendError> {
    let alternatives = rules.entry(call.number).or_default();
    if call.when.is_empty() {
        return Ok(());
    }
    let conditions = call.when.iter().map(|(at, wanted)| {
        let (operator, value) = match wanted {
            Argument::Is(value) => (SeccompCmpOp::Eq, *value),
            Argument::Has(bits) => (SeccompCmpOp::MaskedEq(*bits), *bits),
            Argument::Lacks(bits) => (SeccompCmpOp::MaskedEq(*bits), 0),
        };
        SeccompCondition::new(*at, SeccompCmpArgLen::Qword, operator, value)
    });
    alternatives.push(SeccompRule::new(conditions.collect::<Result<_, _>>()?)?);
    Ok(())
}
