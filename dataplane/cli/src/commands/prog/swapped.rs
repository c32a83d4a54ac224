//! What a change came to, in the lines that prove it.

use weir_control::reply::{Applied, Conservation, MapPlan, Plan, ProgramPlan};

use crate::output::{bytes, grouped};

/// A change in words: what was proven and compiled, what became of the maps, the swap and its equation.
pub(crate) fn swapped(applied: &Applied) -> String {
    let mut lines = plan(&applied.plan);
    lines.push(match applied.dry_run {
        true => format!("generation {} stays in force: nothing was changed", applied.from),
        false if applied.from == applied.to => {
            format!("generation {} stays in force: nothing differs", applied.to)
        }
        false => format!(
            "swapped generation {} -> {} on {} in {}; {}",
            applied.from,
            applied.to,
            counted(applied.workers, "worker"),
            seconds(applied.swap_seconds),
            equation(&applied.cut),
        ),
    });
    if let Some(until) = &applied.confirm_by {
        lines.push(format!("taken back at {until} unless `weir config confirm` is said before"));
    }
    lines.join("\n")
}

/// What is, or would be, done.
pub(crate) fn plan(plan: &Plan) -> Vec<String> {
    let changed: Vec<&ProgramPlan> =
        plan.programs.iter().filter(|program| program.action != "kept").collect();
    let mut lines = Vec::new();
    match changed[..] {
        [one] if one.action != "removed" => lines.push(proven(one)),
        _ => lines.extend(changed.iter().map(|program| match program.action.as_str() {
            "removed" => format!("{}: removed", program.name),
            action => format!("{}: {action}  {}", program.name, proven(program)),
        })),
    }
    if !plan.maps.is_empty() {
        let maps: Vec<String> = plan.maps.iter().map(map).collect();
        let maps = format!("maps: {}", maps.join(", "));
        match lines.last_mut() {
            Some(line) if changed.len() == 1 => *line += &format!("   {maps}"),
            _ => lines.push(maps),
        }
    }
    lines.extend(plan.notes.iter().cloned());
    lines
}

fn proven(program: &ProgramPlan) -> String {
    format!(
        "verify ok ({} insns, {})   jit ok ({}, {})",
        grouped(program.instructions),
        seconds(program.verify_seconds),
        bytes(program.bytes_jited),
        seconds(program.jit_seconds),
    )
}

fn map(map: &MapPlan) -> String {
    let mut text = match map.action.as_str() {
        "kept" | "migrated" => format!("{} {} {}", map.name, map.action, map.entries),
        action => format!("{} {action}", map.name),
    };
    if !map.fields.is_empty() {
        text += &format!(" ({})", map.fields.join(", "));
    }
    text
}

/// `lost 0 (rx 5 = pass 3 + drop 2)`: what is zero is left out.
pub(crate) fn equation(cut: &Conservation) -> String {
    let sum = |terms: &[(&str, u64)]| {
        let terms = terms.iter().filter(|(_, packets)| *packets > 0);
        let terms: Vec<String> =
            terms.map(|(name, packets)| format!("{name} {}", grouped(*packets))).collect();
        if terms.is_empty() { "0".to_owned() } else { terms.join(" + ") }
    };
    let more = [("cloned", cut.cloned), ("made", cut.made)].into_iter().filter(|(_, packets)| *packets > 0);
    let left = more.fold(format!("rx {}", grouped(cut.rx)), |left, (name, packets)| {
        format!("{left} + {name} {}", grouped(packets))
    });
    let right = sum(&[
        ("tx", cut.tx),
        ("pass", cut.pass),
        ("drop", cut.drop),
        ("consumed", cut.consumed),
        ("held", cut.held),
    ]);
    format!("lost {} ({left} = {right})", cut.lost)
}

fn counted(number: u64, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

/// A short time in the unit that people read.
pub(crate) fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 1e-6 => format!("{:.0} ns", s * 1e9),
        s if s < 1e-3 => format!("{:.0} us", s * 1e6),
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s => format!("{s:.1} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_a_replacement_are_those_that_the_page_promises() {
        let map = |name: &str, action: &str, entries, fields: &[&str]| MapPlan {
            name: name.to_owned(),
            action: action.to_owned(),
            entries,
            fields: fields.iter().map(|field| (*field).to_owned()).collect(),
        };
        let program = ProgramPlan {
            name: "fw".to_owned(),
            action: "replaced".to_owned(),
            instructions: 812,
            bytes_jited: 4198,
            verify_seconds: 0.003,
            jit_seconds: 0.000_4,
        };
        let maps = vec![
            map("stats", "kept", 5, &[]),
            map("conns", "migrated", 18212, &["+field `mark` = 0"]),
            map("seen", "scratch", 0, &[]),
        ];
        let mut applied = Applied {
            from: 7,
            to: 8,
            workers: 4,
            swap_seconds: 38e-6,
            cut: Conservation { rx: 91233, pass: 90100, drop: 1133, ..Conservation::default() },
            plan: Plan { programs: vec![program], maps, notes: Vec::new() },
            ..Applied::default()
        };
        assert_eq!(
            swapped(&applied),
            "verify ok (812 insns, 3 ms)   jit ok (4.1 KiB, 400 us)   \
             maps: stats kept 5, conns migrated 18212 (+field `mark` = 0), seen scratch\n\
             swapped generation 7 -> 8 on 4 workers in 38 us; lost 0 (rx 91 233 = pass 90 100 + drop 1 133)"
        );
        applied.dry_run = true;
        assert!(swapped(&applied).ends_with("\ngeneration 7 stays in force: nothing was changed"));
    }

    #[test]
    fn times_have_the_unit_that_people_read() {
        assert_eq!([38e-9, 38e-6, 0.0034, 2.5].map(seconds), ["38 ns", "38 us", "3 ms", "2.5 s"]);
    }
}
