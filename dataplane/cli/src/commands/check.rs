//! `weir check`: proves programs, or says why not. Needs no root and no kernel.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use clap::Args;
use serde::Serialize;
use weir_ebpf::Program;
use weir_ebpf::program::Line;
use weir_engine::proof;
use weir_verifier::{Options, Rule};

use crate::exit::{Code, Done, Failure};
use crate::output::{Colour, Output, grouped, sentence};
use crate::source::{Source, SourceArgs};

/// Arguments of `weir check`.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    source: SourceArgs,
    /// The verifier's log in the kernel's format: 1 at branches, 2 at every instruction
    #[arg(long, value_name = "LEVEL", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    log_level: u8,
    #[command(flatten)]
    budget: Budget,
    /// What a rule asks for, by its name; `list` for all of them
    #[arg(long, value_name = "RULE", conflicts_with = "objects")]
    explain: Option<String>,
}

/// What proving one program may take.
#[derive(Args)]
struct Budget {
    /// Most instructions to walk, repeats counted
    #[arg(long, value_name = "N", default_value_t = Options::default().insns_max)]
    insns_max: u64,
    /// Most memory for the states to compare with
    #[arg(long, value_name = "MIB", default_value_t = Options::default().memory_max >> 20)]
    memory_max: u64,
    /// Longest time
    #[arg(long, value_name = "SECONDS", default_value_t = proof::TIME_MAX.as_secs())]
    time_max: u64,
}

impl Arguments {
    fn options(&self) -> Options {
        let Budget { insns_max, memory_max, time_max } = self.budget;
        let time = Some(proof::within(Duration::from_secs(time_max)));
        let memory_max = memory_max.saturating_mul(1 << 20);
        Options { log_level: self.log_level, insns_max, memory_max, time, ..Options::default() }
    }
}

/// What the verifier said of one program.
#[derive(Serialize)]
struct Answer {
    schema: &'static str,
    file: String,
    program: String,
    #[serde(rename = "type")]
    kind: Option<&'static str>,
    /// `accept` or `reject`; `other` for a program whose section names no type that weir runs.
    verdict: &'static str,
    message: String,
    rule: Option<&'static str>,
    insn: Option<usize>,
    /// `FILE:LINE` of the source.
    line: Option<String>,
    /// What led to a refusal, in the order of time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    story: Vec<Told>,
    help: Option<String>,
    /// What is accepted and probably a mistake.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Told>,
    /// Instructions walked over, repeats counted.
    insns_processed: u64,
    states: u64,
    milliseconds: f64,
    #[serde(skip_serializing_if = "String::is_empty")]
    log: String,
    /// The refusal as people read it.
    #[serde(skip)]
    text: String,
}

impl Answer {
    fn new(file: &str, program: &str, verdict: &'static str) -> Self {
        Self {
            schema: "weir.v1.check",
            file: file.to_owned(),
            program: program.to_owned(),
            kind: None,
            verdict,
            message: String::new(),
            rule: None,
            insn: None,
            line: None,
            story: Vec::new(),
            help: None,
            warnings: Vec::new(),
            insns_processed: 0,
            states: 0,
            milliseconds: 0.0,
            log: String::new(),
            text: String::new(),
        }
    }

    /// A program that stands beside those that weir runs.
    fn other(file: &str, program: &str, section: &str) -> Self {
        let message = format!("section `{section}` names no type that weir runs; --as TYPE takes it as one");
        Self { message, ..Self::new(file, program, "other") }
    }
}

/// Something said of one instruction.
#[derive(Serialize)]
struct Told {
    insn: usize,
    /// `FILE:LINE` of the source.
    line: Option<String>,
    message: String,
}

impl Told {
    fn new(insn: usize, line: Option<&Line>, message: &str) -> Self {
        let line = line.map(|line| format!("{}:{}", line.file, line.line));
        Self { insn, line, message: message.to_owned() }
    }
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, output: &Output) -> Done {
    if let Some(name) = &arguments.explain {
        return explain(name, output);
    }
    let (mut refused, mut accepted) = (0, 0);
    let mut answers = Vec::new();
    for source in arguments.source.read()? {
        let file = source.path.display().to_string();
        let others = source.others.clone();
        let mut checked = check(source, &arguments.options(), output);
        let rejected = checked.iter().filter(|answer| answer.verdict == "reject").count();
        accepted += checked.len() - rejected;
        if !output.is_json() {
            for answer in &checked {
                say(answer, output)?;
            }
            for (name, section) in &others {
                output.text(format_args!("{file}: {name}: not weir's, section `{section}`"))?;
            }
            if rejected > 0 {
                let programs = if checked.len() == 1 { "program" } else { "programs" };
                output.text(format_args!("{file}: {} {programs}, {rejected} rejected", checked.len()))?;
            }
        }
        refused += rejected;
        checked.extend(others.iter().map(|(name, section)| Answer::other(&file, name, section)));
        answers.extend(checked);
    }
    if output.is_json() {
        output.json(&answers)?;
    }
    Ok(if refused > 0 || accepted == 0 { Code::Rejected } else { Code::Ok })
}

fn check(source: Source, options: &Options, output: &Output) -> Vec<Answer> {
    let file = source.path.display().to_string();
    let programs = source.programs.into_iter();
    programs
        .map(|(name, program)| {
            let mut answer = Answer::new(&file, &name, "reject");
            match program {
                Err(error) => {
                    answer.message = sentence(&error);
                    answer.text = answer.message.clone();
                }
                Ok(program) => prove(&mut answer, program, options, output),
            }
            answer
        })
        .collect()
}

fn prove(answer: &mut Answer, program: Arc<Program>, options: &Options, output: &Output) {
    answer.kind = Some(program.kind.name());
    let start = Instant::now();
    let proven = weir_verifier::verify(program, options);
    answer.milliseconds = start.elapsed().as_secs_f64() * 1e3;
    let stats = match proven {
        Ok(verified) => {
            answer.verdict = "accept";
            answer.log = verified.log().to_owned();
            for lint in verified.lints() {
                answer.warnings.push(Told::new(lint.slot, lint.line.as_ref(), &lint.found));
                answer.text.push_str(&lint.render(output.has_colour()));
                answer.text.push('\n');
            }
            verified.stats()
        }
        Err(reject) => {
            answer.message = reject.message.clone();
            answer.rule = Some(reject.rule.name());
            answer.insn = Some(reject.slot);
            answer.log = reject.log.clone();
            answer.line = reject.line.as_ref().map(|line| format!("{}:{}", line.file, line.line));
            answer.help = reject.help.clone();
            let story = reject.story.iter();
            answer.story =
                story.map(|origin| Told::new(origin.slot, origin.line.as_ref(), &origin.said)).collect();
            answer.text = reject.render(output.has_colour());
            reject.stats
        }
    };
    answer.insns_processed = stats.processed;
    answer.states = stats.states;
}

fn say(answer: &Answer, output: &Output) -> std::io::Result<()> {
    if !answer.log.is_empty() {
        output.text(answer.log.trim_end())?;
    }
    let program = format!("{}: {}", answer.file, answer.program);
    if answer.verdict == "reject" {
        let word = output.paint(Colour::Red, "rejected");
        return output.text(format_args!("{program}: {word}\n{}\n", answer.text.trim_end()));
    }
    let word = output.paint(Colour::Green, "ok");
    output.text(format_args!(
        "{program} ({}): {word}, {} insns processed, {} states, {:.2} ms",
        answer.kind.unwrap_or_default(),
        grouped(answer.insns_processed),
        answer.states,
        answer.milliseconds,
    ))?;
    match answer.text.trim_end() {
        "" => Ok(()),
        warnings => output.text(warnings),
    }
}

fn explain(name: &str, output: &Output) -> Done {
    if name == "list" {
        for rule in Rule::ALL {
            output.text(format_args!("{:<28} {}", rule.name(), rule.sentence()))?;
        }
        return Ok(Code::Ok);
    }
    let Some(rule) = Rule::from_name(name) else {
        let what = anyhow!("there is no rule `{name}`: `weir check --explain list` names them all");
        return Err(Failure::new(Code::Usage, what));
    };
    output.text(format_args!("{}\n  {}", rule.name(), rule.sentence()))?;
    if !rule.kernel().is_empty() {
        output.text(format_args!("  the kernel says: {}", rule.kernel()))?;
    }
    Ok(Code::Ok)
}
