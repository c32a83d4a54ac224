//! The XDP and tc chains of a port, with the kernel's rules for what each answer leads to.
//!
//! tc: net/sched/cls_bpf.c (`cls_bpf_classify`), act_bpf.c (`tcf_bpf_act`), act_api.c
//! (`tcf_action_exec`), cls_api.c (`__tcf_classify`) and net/core/dev.c (`tc_run`) decide. XDP chains
//! are libxdp's: the first verdict that a program's entry does not continue on is final.

use weir_ebpf::abi::{TcAction, XdpAction};
use weir_vm::Context;

use crate::generation::{Action, Filter, FilterMode, ProgramNumber, XdpLink};

/// How often classification starts over before the packet is dropped (`max_reclassify_loop`).
pub const RECLASSIFY_MAX: u32 = 16;
/// What a classifier answers for a packet that is not its.
const NO_MATCH: i32 = 0;
/// What it answers for a packet that takes the filter's own classid.
const OWN_CLASS: i32 = -1;

/// What runs programs for a chain; the chain itself only knows what the answers mean.
pub trait Runner {
    /// Runs a program on the packet and answers its r0, as a program returns it: 32 bits.
    fn run(&mut self, program: ProgramNumber, context: &mut Context<'_>) -> i32;
}

/// What an XDP chain came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpOutcome {
    /// This verdict.
    Verdict(XdpAction),
    /// A program answered a number that is no verdict.
    Invalid,
}

/// What a tc chain came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcOutcome {
    /// The code, `Unspec` when no filter matched.
    pub action: TcAction,
    /// The classid of the filter that matched; 0 without.
    pub classid: u32,
    /// Whether classification was started over too often; the action is then `Shot`.
    pub looped: bool,
}

/// Runs an XDP chain.
#[inline]
pub fn xdp(chain: &[XdpLink], runner: &mut impl Runner, context: &mut Context<'_>) -> XdpOutcome {
    for link in chain {
        let answer = runner.run(link.program, context);
        match XdpAction::new(answer as u32) {
            None => return XdpOutcome::Invalid,
            Some(action) if !link.continues.contains(&action) => return XdpOutcome::Verdict(action),
            Some(_) => {}
        }
    }
    XdpOutcome::Verdict(XdpAction::Pass)
}

/// Runs a tc chain.
#[inline]
pub fn tc(chain: &[Filter], runner: &mut impl Runner, context: &mut Context<'_>) -> TcOutcome {
    let mut classid = 0;
    for _ in 0..=RECLASSIFY_MAX {
        match classify(chain, runner, context, &mut classid) {
            TcAction::Reclassify => {}
            action => return TcOutcome { action, classid, looped: false },
        }
    }
    TcOutcome { action: TcAction::Shot, classid, looped: true }
}

/// One pass over the filters.
fn classify(
    chain: &[Filter],
    runner: &mut impl Runner,
    context: &mut Context<'_>,
    classid: &mut u32,
) -> TcAction {
    for filter in chain {
        // What a program reads in tc_classid before it wrote it, and what an action reads.
        context.tc_classid = filter.classid & 0xffff;
        let answer = runner.run(filter.program, context);
        let action = match &filter.mode {
            FilterMode::DirectAction => {
                *classid = (filter.classid & 0xffff_0000) | (context.tc_classid & 0xffff);
                direct_action(answer)
            }
            FilterMode::Classifier(_) if answer == NO_MATCH => continue,
            FilterMode::Classifier(actions) => {
                *classid = if answer == OWN_CLASS { filter.classid } else { answer as u32 };
                run_actions(actions, runner, context)
            }
        };
        if action != TcAction::Unspec {
            return action;
        }
    }
    TcAction::Unspec
}

/// What a direct-action classifier may answer (`cls_bpf_exec_opcode`); all else asks the next filter.
fn direct_action(answer: i32) -> TcAction {
    match TcAction::new(answer) {
        Some(
            action @ (TcAction::Ok | TcAction::Shot | TcAction::Stolen | TcAction::Trap | TcAction::Redirect),
        ) => action,
        Some(
            TcAction::Unspec | TcAction::Reclassify | TcAction::Pipe | TcAction::Queued | TcAction::Repeat,
        )
        | None => TcAction::Unspec,
    }
}

/// The code of an action program's answer (`tcf_bpf_act`); `Unspec` takes the action's default, `pipe`.
fn action_answer(answer: i32) -> TcAction {
    match TcAction::new(answer) {
        Some(
            action @ (TcAction::Pipe
            | TcAction::Reclassify
            | TcAction::Ok
            | TcAction::Redirect
            | TcAction::Shot),
        ) => action,
        Some(TcAction::Unspec) => TcAction::Pipe,
        Some(TcAction::Stolen | TcAction::Queued | TcAction::Repeat | TcAction::Trap) | None => {
            TcAction::Unspec
        }
    }
}

/// An action list: `pipe` goes on, all else ends it. A list that is empty accepts.
fn run_actions(actions: &[Action], runner: &mut impl Runner, context: &mut Context<'_>) -> TcAction {
    let mut last = TcAction::Ok;
    for action in actions {
        last = match action {
            Action::Fixed(code) => *code,
            Action::Program(program) => action_answer(runner.run(*program, context)),
        };
        if last != TcAction::Pipe {
            return last;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Programs by number that answer a script, and what was run.
    struct Script {
        answers: Vec<Vec<i32>>,
        ran: Vec<ProgramNumber>,
    }

    impl Script {
        fn new(answers: &[&[i32]]) -> Self {
            let reversed = |answers: &&[i32]| answers.iter().rev().copied().collect();
            Self { answers: answers.iter().map(reversed).collect(), ran: Vec::new() }
        }
    }

    impl Runner for Script {
        fn run(&mut self, program: ProgramNumber, context: &mut Context<'_>) -> i32 {
            self.ran.push(program);
            context.tc_classid = context.tc_classid.max(program as u32);
            let answers = &mut self.answers[program];
            if answers.len() > 1 { answers.pop().unwrap() } else { answers[0] }
        }
    }

    fn classifier(program: usize, classid: u32, actions: &[Action]) -> Filter {
        Filter { program, classid, mode: FilterMode::Classifier(actions.to_vec()) }
    }

    fn run(chain: &[Filter], answers: &[&[i32]]) -> (TcAction, u32, Vec<usize>) {
        let mut room = vec![0u8; 512];
        let mut context = Context::new(&mut room, 256..320);
        let mut script = Script::new(answers);
        let outcome = tc(chain, &mut script, &mut context);
        (outcome.action, outcome.classid, script.ran)
    }

    #[test]
    fn a_classifier_answers_no_match_own_class_or_a_class() {
        let chain = [classifier(0, 0x10001, &[]), classifier(1, 0x10002, &[])];
        assert_eq!(run(&chain, &[&[0], &[0]]), (TcAction::Unspec, 0, vec![0, 1]));
        assert_eq!(run(&chain, &[&[0], &[-1]]), (TcAction::Ok, 0x10002, vec![0, 1]));
        assert_eq!(run(&chain, &[&[0x2_0005], &[-1]]), (TcAction::Ok, 0x2_0005, vec![0]));
    }

    #[test]
    fn actions_pipe_until_one_decides() {
        let drop = Action::Fixed(TcAction::Shot);
        let chain = [classifier(0, 1, &[Action::Program(1), Action::Program(2), drop])];
        assert_eq!(run(&chain, &[&[-1], &[3], &[0]]).0, TcAction::Ok);
        assert_eq!(run(&chain, &[&[-1], &[3], &[3]]).0, TcAction::Shot);
        assert_eq!(run(&chain, &[&[-1], &[-1], &[2]]), (TcAction::Shot, 1, vec![0, 1, 2]));
    }

    #[test]
    fn an_action_that_answers_nonsense_asks_the_next_filter() {
        let chain = [classifier(0, 1, &[Action::Program(1)]), classifier(2, 7, &[])];
        // act_bpf knows no TC_ACT_STOLEN of a program: it counts as unspecified.
        assert_eq!(run(&chain, &[&[-1], &[4], &[-1]]), (TcAction::Ok, 7, vec![0, 1, 2]));
    }

    #[test]
    fn direct_action_takes_codes_and_the_written_classid() {
        let chain = [Filter { program: 5, classid: 0x3_0001, mode: FilterMode::DirectAction }];
        let answers: &[&[i32]] = &[&[0], &[0], &[0], &[0], &[0], &[0]];
        assert_eq!(run(&chain, answers), (TcAction::Ok, 0x3_0005, vec![5]));
        for (answer, action) in
            [(2, TcAction::Shot), (3, TcAction::Unspec), (4, TcAction::Stolen), (99, TcAction::Unspec)]
        {
            let answers: &[&[i32]] = &[&[0], &[0], &[0], &[0], &[0], &[answer]];
            assert_eq!(run(&chain, answers).0, action, "{answer}");
        }
    }

    #[test]
    fn reclassify_starts_over_and_not_for_ever() {
        let again = Action::Fixed(TcAction::Reclassify);
        let chain = [classifier(0, 1, &[again]), classifier(1, 2, &[])];
        assert_eq!(run(&chain, &[&[-1, 0], &[-1]]), (TcAction::Ok, 2, vec![0, 0, 1]));
        let mut room = vec![0u8; 512];
        let mut context = Context::new(&mut room, 256..320);
        let mut script = Script::new(&[&[-1], &[-1]]);
        let outcome = tc(&chain, &mut script, &mut context);
        assert!(outcome.looped && outcome.action == TcAction::Shot);
        assert_eq!(script.ran.len(), 17);
    }

    #[test]
    fn an_xdp_chain_ends_at_the_first_verdict_it_does_not_continue_on() {
        let link = |program, continues: &[XdpAction]| XdpLink { program, continues: continues.to_vec() };
        let chain = [link(0, &[XdpAction::Pass]), link(1, &[XdpAction::Pass])];
        let mut room = vec![0u8; 512];
        let mut context = Context::new(&mut room, 256..320);
        let mut go = |answers: &[&[i32]]| xdp(&chain, &mut Script::new(answers), &mut context);
        assert_eq!(go(&[&[2], &[3]]), XdpOutcome::Verdict(XdpAction::Tx));
        assert_eq!(go(&[&[1], &[3]]), XdpOutcome::Verdict(XdpAction::Drop));
        assert_eq!(go(&[&[2], &[2]]), XdpOutcome::Verdict(XdpAction::Pass));
        assert_eq!(go(&[&[77], &[2]]), XdpOutcome::Invalid);
    }
}
