//! Did you mean …: the nearest of some names.

/// The name that `word` most probably was to be, when one is near enough to be worth saying.
pub fn nearest<'n>(word: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let near = names.into_iter().map(|name| (distance(word, name), name)).min()?;
    (near.0 <= word.len().max(3) / 3).then_some(near.1)
}

/// How many letters must be put in, left out, changed or exchanged with the next one.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=right.len()).collect()];
    for (at, a) in left.iter().enumerate() {
        let mut row = vec![at + 1];
        for (to, b) in right.iter().enumerate() {
            let mut least = (rows[at][to] + usize::from(a != b)).min(rows[at][to + 1] + 1).min(row[to] + 1);
            if at > 0 && to > 0 && *a == right[to - 1] && left[at - 1] == *b {
                least = least.min(rows[at - 1][to - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[left.len()][right.len()]
}

/// What to add to serde's words about an unknown field or variant: `; did you mean …`.
pub(super) fn hint(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = message.starts_with("unknown field") || message.starts_with("unknown variant");
    let Some(word) = quoted.next().filter(|_| unknown) else { return String::new() };
    nearest(word, quoted).map_or(String::new(), |name| format!("; did you mean `{name}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_nonsense_finds_none() {
        let names = ["driver", "device", "mtu", "address"];
        assert_eq!(nearest("drivr", names), Some("driver"));
        assert_eq!(nearest("mut", names), Some("mtu"));
        assert_eq!(nearest("adress", names), Some("address"));
        assert_eq!(nearest("colour", names), None);
    }
}
