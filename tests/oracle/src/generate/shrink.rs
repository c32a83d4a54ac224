//! Making a failing recipe small: steps are taken out, and bodies put in the place of what holds them,
//! as long as it still fails.

use super::{Recipe, Step};

/// The smallest recipe found that still `fails`; gives up after `tries`.
pub fn shrink(recipe: &Recipe, mut tries: usize, fails: impl Fn(&Recipe) -> bool) -> Recipe {
    let mut best = recipe.clone();
    'again: loop {
        for smaller in candidates(&best) {
            if tries == 0 {
                return best;
            }
            tries -= 1;
            if fails(&smaller) {
                best = smaller;
                continue 'again;
            }
        }
        return best;
    }
}

/// Recipes with a little less in them, those with much less first.
fn candidates(recipe: &Recipe) -> Vec<Recipe> {
    let with_main = |main| Recipe { main, ..recipe.clone() };
    let mut all: Vec<Recipe> = lists(&recipe.main).into_iter().map(with_main).collect();
    for (index, function) in recipe.functions.iter().enumerate() {
        for smaller in lists(function) {
            let mut other = recipe.clone();
            other.functions[index] = smaller;
            all.push(other);
        }
    }
    all
}

/// Lists with a run of steps taken out, or one step made smaller.
fn lists(steps: &[Step]) -> Vec<Vec<Step>> {
    let mut all = Vec::new();
    let mut run = steps.len();
    while run > 0 {
        for start in (0..steps.len()).step_by(run) {
            let end = (start + run).min(steps.len());
            all.push([&steps[..start], &steps[end..]].concat());
        }
        run /= 2;
    }
    for (index, step) in steps.iter().enumerate() {
        for smaller in inside(step) {
            all.push([&steps[..index], &smaller, &steps[index + 1..]].concat());
        }
    }
    all
}

/// What may stand in a step's place.
fn inside(step: &Step) -> Vec<Vec<Step>> {
    match step {
        Step::If { then, other, .. } => {
            let mut all = vec![then.clone(), other.clone()];
            let with = |then: Vec<Step>, other: Vec<Step>| {
                let mut step = step.clone();
                if let Step::If { then: first, other: second, .. } = &mut step {
                    (*first, *second) = (then, other);
                }
                vec![step]
            };
            all.extend(lists(then).into_iter().map(|then| with(then, other.clone())));
            all.extend(lists(other).into_iter().map(|other| with(then.clone(), other)));
            all
        }
        Step::Loop { times, may, body } => {
            let mut all = vec![body.clone()];
            if *times > 1 {
                all.push(vec![Step::Loop { times: 1, may: *may, body: body.clone() }]);
            }
            let with = |body| vec![Step::Loop { times: *times, may: *may, body }];
            all.extend(lists(body).into_iter().map(with));
            all
        }
        Step::Spill { value, body } => {
            let with = |body| vec![Step::Spill { value: *value, body }];
            lists(body).into_iter().map(with).collect()
        }
        Step::Lookup { map, key, index, accesses } if accesses.len() > 1 => {
            let one = |access| {
                let (map, key, index) = (*map, *key, *index);
                vec![Step::Lookup { map, key, index, accesses: vec![access] }]
            };
            accesses.iter().copied().map(one).collect()
        }
        _ => Vec::new(),
    }
}
