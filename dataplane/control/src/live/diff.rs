//! How two texts differ, line by line.

/// Lines beyond which a difference is not looked for: each pair of them is compared.
const LINES_MAX: usize = 4000;
/// Equal lines that are shown around a difference.
const AROUND: usize = 3;

/// What diff -u says, without its head; empty when there is no difference.
pub(super) fn unified(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    if old == new {
        return String::new();
    }
    let lines = match old.len().max(new.len()) <= LINES_MAX {
        true => aligned(&old, &new),
        false => old.iter().map(|line| ('-', *line)).chain(new.iter().map(|line| ('+', *line))).collect(),
    };
    let near = |at: usize| {
        let (from, to) = (at.saturating_sub(AROUND), (at + AROUND + 1).min(lines.len()));
        lines[from..to].iter().any(|(mark, _)| *mark != ' ')
    };
    let (mut text, mut shown) = (String::new(), true);
    for (at, (mark, line)) in lines.iter().enumerate() {
        if near(at) {
            text.push_str(if shown { "" } else { "@@\n" });
            text.push(*mark);
            text.push_str(line);
            text.push('\n');
        }
        shown = near(at);
    }
    text
}

/// All lines, each with its mark, by a longest common subsequence.
fn aligned<'t>(old: &[&'t str], new: &[&'t str]) -> Vec<(char, &'t str)> {
    let width = new.len() + 1;
    let mut common = vec![0u32; (old.len() + 1) * width];
    for a in (0..old.len()).rev() {
        for b in (0..new.len()).rev() {
            common[a * width + b] = match old[a] == new[b] {
                true => common[(a + 1) * width + b + 1] + 1,
                false => common[(a + 1) * width + b].max(common[a * width + b + 1]),
            };
        }
    }
    let (mut a, mut b, mut lines) = (0, 0, Vec::new());
    while a < old.len() || b < new.len() {
        if a < old.len() && b < new.len() && old[a] == new[b] {
            lines.push((' ', old[a]));
            (a, b) = (a + 1, b + 1);
        } else if b == new.len()
            || (a < old.len() && common[(a + 1) * width + b] >= common[a * width + b + 1])
        {
            lines.push(('-', old[a]));
            a += 1;
        } else {
            lines.push(('+', new[b]));
            b += 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_shown_with_what_is_around_it() {
        assert_eq!(unified("a\nb\n", "a\nb\n"), "");
        assert_eq!(unified("a\nb\nc\n", "a\nc\nd\n"), " a\n-b\n c\n+d\n");
        let old: String = (0..20).map(|line| format!("{line}\n")).collect();
        let new = old.replace("10\n", "ten\n");
        assert_eq!(unified(&old, &new), "@@\n 7\n 8\n 9\n-10\n+ten\n 11\n 12\n 13\n");
        assert_eq!(unified("", "a\n"), "+a\n");
    }
}
