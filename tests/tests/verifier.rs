//! Our verifier beside the kernel's: the corpus of cases, the table of helpers, our own objects.

#[path = "../../dataplane/verifier/tests/case/mod.rs"]
mod case;

use std::sync::Arc;

use case::Answer;
use weir_ebpf::abi::Helper;
use weir_ebpf::isa::{Insn, Reg, Source, Width};
use weir_ebpf::{Program, ProgramType};
use weir_tests::kernel::{skip, verdict};
use weir_verifier::{Options, verify};

/// Compares what the kernel says of the cases in the file that `WEIR_PROBES` names, whatever they say themselves:
/// for trying out where the two differ.
#[test]
#[ignore = "a tool"]
fn probes() {
    let path = std::env::var("WEIR_PROBES").expect("WEIR_PROBES names a file of cases");
    let (mut all, mut alike) = (0, 0);
    for case in case::read(path.as_ref()) {
        all += 1;
        let (accepted, log) = match verdict(&case.program) {
            Ok(answer) => answer,
            Err(error) => {
                println!("{}: not asked: {error:#}", case.name);
                continue;
            }
        };
        let ours = verify(case.program.clone(), &Options::default());
        let differs = match &ours {
            Ok(_) => !accepted,
            Err(reject) => accepted || !log.contains(reject.kernel_says().unwrap_or_default()),
        };
        if !differs {
            alike += 1;
            continue;
        }
        let said = ours
            .map_or_else(|reject| format!("{} [{}]", reject.message, reject.rule), |_| "accept".to_owned());
        let theirs = if accepted { "accept".to_owned() } else { reason(&log) };
        println!("{}\n    we: {said}\n    kernel: {theirs}", case.name);
    }
    println!("{alike} of {all} alike");
}

/// The line of the kernel's log that says why.
fn reason(log: &str) -> String {
    let said = |line: &&str| !line.starts_with("processed ") && !line.is_empty();
    log.lines().rfind(said).unwrap_or_default().trim().to_owned()
}

#[test]
fn the_kernel_answers_the_corpus_alike() {
    if skip("the_kernel_answers_the_corpus_alike") {
        return;
    }
    let mut wrong = Vec::new();
    for case in case::all().into_iter().filter(|case| !case.kernel_skipped) {
        let wanted = case.kernel.clone().unwrap_or(case.answer.clone());
        let name = format!("{}: {}", case.file, case.name);
        let (accepted, log) = match verdict(&case.program) {
            Ok(answer) => answer,
            Err(error) => {
                wrong.push(format!("{name}\n  not asked: {error:#}"));
                continue;
            }
        };
        match wanted {
            Answer::Accept if accepted => {}
            Answer::Reject { message, .. } if !accepted && log.contains(&message) => {}
            wanted => {
                wrong.push(format!("{name}\n  wanted {wanted:?}\n  kernel {accepted}: {}", reason(&log)))
            }
        }
    }
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
}

/// A program that does nothing but call a helper with nothing in its arguments.
fn bare_call(helper: u32, kind: ProgramType, license: &str) -> Program {
    let zero = Insn::Mov { width: Width::W64, dst: Reg::R0, src: Source::Imm(0) };
    let insns = vec![zero, Insn::Call { helper }, zero, Insn::Exit];
    let mut program = Program::from_insns("main", kind, insns);
    program.license = license.to_owned();
    program
}

#[test]
fn helpers_are_offered_as_by_the_kernel() {
    if skip("helpers_are_offered_as_by_the_kernel") {
        return;
    }
    let mut wrong = Vec::new();
    for &helper in Helper::ALL {
        for &kind in ProgramType::ALL {
            let (_, log) = verdict(&bare_call(helper as u32, kind, "GPL")).expect("a verdict");
            let offered = !log.contains("cannot use helper") && !log.contains("unknown func");
            if offered != helper.offered_to(kind, kind.usual_attach()) {
                wrong.push(format!("{} to {kind}: kernel {offered}", helper.name()));
            }
            let (_, log) = verdict(&bare_call(helper as u32, kind, "")).expect("a verdict");
            let gpl_only = log.contains("GPL");
            if offered && gpl_only != helper.gpl_only() {
                wrong.push(format!("{} to {kind}: kernel's gpl_only {gpl_only}", helper.name()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the kernel offers to packet programs and weir does not have, in the order of numbers, each with why.
const ABSENT: &[(u32, &str)] = &[
    (22, "hardware counters of the kernel"),
    (37, TASK),
    (109, TASK),
    (117, TASK),
    (141, TASK),
    (148, ADDRESS),
    (149, "the kernel's structures"),
    (153, "the kernel's variables"),
    (154, "the kernel's variables"),
    (156, TASK),
    (157, TASK),
    (158, TASK),
    (175, TASK),
    (176, "the processor's branch records"),
    (180, TASK),
    (191, TASK),
    (194, "pointers to the kernel's structures in maps"),
    (209, "a ring that user space writes"),
    (210, TASK),
    (211, TASK),
];
const TASK: &str = "of a task: a packet here is nobody's";
const ADDRESS: &str = "addresses that are not the program's";

#[test]
fn helpers_that_the_kernel_offers_are_there_or_absent_on_purpose() {
    if skip("helpers_that_the_kernel_offers_are_there_or_absent_on_purpose") {
        return;
    }
    let offered = |number, kind| {
        let (_, log) = verdict(&bare_call(number, kind, "GPL")).expect("a verdict");
        !log.contains("cannot use helper") && !log.contains("unknown func")
    };
    let stale = ABSENT.iter().filter(|(number, _)| Helper::new(*number).is_some());
    let mut wrong: Vec<_> = stale.map(|(number, _)| format!("{number} is there")).collect();
    for number in (1..=211).filter(|number| Helper::new(*number).is_none()) {
        let kinds: Vec<_> = ProgramType::ALL.iter().filter(|kind| offered(number, **kind)).collect();
        let absent = ABSENT.iter().any(|(known, _)| *known == number);
        if kinds.is_empty() == absent {
            let name = weir_ebpf::abi::names::helper_name(number).unwrap_or_default();
            wrong.push(format!("{number} {name}: kernel offers it to {kinds:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn our_programs_are_accepted_by_both() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../programs");
    let ask_kernel = !skip("our_programs_are_accepted_by_both (kernel side)");
    for entry in std::fs::read_dir(folder).expect("the programs") {
        let folder = entry.expect("a folder entry").path();
        for file in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = file.expect("a folder entry").path();
            if path.extension().is_none_or(|extension| extension != "o") {
                continue;
            }
            let bytes = std::fs::read(&path).expect("a readable object");
            let object = weir_object::Object::parse(&bytes)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            for entry in object.programs().iter().filter(|entry| entry.kind.is_some()) {
                let program = object.program(&entry.name).expect("a program that links");
                both_accept(&program, &path, ask_kernel);
            }
        }
    }
}

fn both_accept(program: &Arc<Program>, path: &std::path::Path, ask_kernel: bool) {
    let name = format!("{}: {}", path.display(), program.name);
    match verify(program.clone(), &Options::default()) {
        Ok(verified) => println!("{name}: {:?}", verified.stats()),
        Err(reject) => panic!("{name}: {reject}"),
    }
    if ask_kernel {
        let (accepted, log) = verdict(program).unwrap_or_else(|error| panic!("{name}: {error:#}"));
        assert!(accepted, "{name}: the kernel refuses it: {}", reason(&log));
    }
}

/// Every object of the folder `WEIR_OBJECTS`: which verdicts differ, and what verification took.
#[test]
#[ignore = "needs a folder of objects in WEIR_OBJECTS"]
fn objects_of_a_folder_are_judged_alike() {
    let folder = std::env::var("WEIR_OBJECTS").expect("WEIR_OBJECTS names a folder");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    for path in files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "o")) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let object = match weir_object::Object::parse(&std::fs::read(path).expect("a readable object")) {
            Ok(object) => object,
            Err(error) => {
                println!("{name}: no object: {error}");
                continue;
            }
        };
        for entry in object.programs().iter().filter(|entry| entry.kind.is_some()) {
            match object.program(&entry.name) {
                Ok(program) => judge_both(&name, &program),
                Err(error) => println!("{name}: {}: does not link: {error}", entry.name),
            }
        }
    }
}

fn judge_both(file: &str, program: &Arc<Program>) {
    let name = &program.name;
    let start = std::time::Instant::now();
    let ours = verify(program.clone(), &Options::default());
    let took = start.elapsed();
    let theirs = match verdict(program) {
        Ok((true, _)) => "accepts".to_owned(),
        Ok((false, log)) => format!("refuses: {}", reason(&log)),
        Err(error) => format!("was not asked: {error:#}"),
    };
    match ours {
        Ok(verified) => {
            let stats = verified.stats();
            let insns = program.insns.len();
            println!(
                "{file}: {name}: yes, {insns} insns, {} walked in {took:?}; kernel {theirs}",
                stats.processed
            );
        }
        Err(reject) => println!("{file}: {name}: no, {took:?}: {reject}\n   kernel {theirs}"),
    }
}
