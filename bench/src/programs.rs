//! Nanoseconds a run of each program of `programs/`: our JIT and the kernel's, on the packets of its cases.
//!
//! Both sides go through their test run with the same number of repetitions in one process, alternately.
//! The thread's own processor time is what counts, the kernel's share included, so that a busy machine
//! disturbs less; and it is the same clock for both.

use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use serde::Serialize;
use weir_ebpf::asm::assemble;
use weir_ebpf::{Program, ProgramType};
use weir_engine::Image;
use weir_sys::bpf::{KernelProgram, TestRun};
use weir_sys::clock::{Clock, now_ns};
use weir_tests::engine;
use weir_tests::kernel::KernelSet;
use weir_tests::mirror::{Mirror, context_bytes};
use weir_tests::packet_text::packet;
use weir_tests::program::ProgramTest;
use weir_vm::test_run::{Input, test_run};
use weir_vm::{Engine, Loaded, ProgramTable, Run, TestEnv};

/// How long one side's repetitions on one packet take, about.
const MEASURE_NS: u64 = 30_000_000;
/// Packets of a program that are measured at most.
const PACKETS_MAX: usize = 4;

/// What a program costs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub program: String,
    pub kind: &'static str,
    pub packets: usize,
    /// Nanoseconds a run, median of the rounds of the mean over the packets.
    pub weir_ns: f64,
    /// The same in the kernel; absent when it cannot be asked.
    pub kernel_ns: Option<f64>,
    /// `weir_ns` less that of the empty program of the same type.
    pub weir_net_ns: f64,
    pub kernel_net_ns: Option<f64>,
    /// weir ÷ kernel, before and after the empty program is taken off.
    pub ratio: Option<f64>,
    pub ratio_net: Option<f64>,
}

/// A program on both sides.
struct Subject {
    name: String,
    kind: ProgramType,
    entry: Arc<Loaded>,
    table: ProgramTable,
    _image: Option<Image>,
    kernel: Option<(KernelSet, usize)>,
    inputs: Vec<Input>,
    repeats: Vec<u32>,
    weir: Vec<f64>,
    theirs: Vec<f64>,
}

impl Subject {
    fn of(test: &ProgramTest, name: &str, kernel: bool) -> Result<Self> {
        let image = test.image(Engine::Jit)?;
        let entry = Arc::clone(image.program(name).context("no such program")?);
        let table = image.table().map_err(|errno| anyhow!("prog arrays: {errno}"))?;
        let mut inputs = Vec::new();
        for case in test.case.iter().filter(|case| !case.keep).take(PACKETS_MAX) {
            let mut input = Input::new(&packet(&case.packet)?);
            input.fields.tstamp = 1_000_000_000;
            inputs.push(input);
        }
        let at = image.programs.iter().position(|loaded| Arc::ptr_eq(loaded, &entry)).unwrap_or_default();
        let kernel = if kernel { Some((Mirror::of(&image)?.set, at)) } else { None };
        Ok(Self::new(name, entry, table, Some(image), kernel, inputs))
    }

    /// `r0 = 2; exit`: what a test run costs without a program.
    fn empty(kind: ProgramType, kernel: bool) -> Result<Self> {
        let program = Program::from_insns("empty", kind, assemble("r0 = 2\n exit")?);
        let set = if kernel { Some((KernelSet::load_one(&program)?, 0)) } else { None };
        let entry = Arc::new(engine::load(&program, Engine::Jit)?);
        let table = ProgramTable::new(vec![Arc::clone(&entry)]);
        Ok(Self::new("(empty)", entry, table, None, set, vec![Input::new(&[0; 64])]))
    }

    fn new(
        name: &str,
        entry: Arc<Loaded>,
        table: ProgramTable,
        image: Option<Image>,
        kernel: Option<(KernelSet, usize)>,
        inputs: Vec<Input>,
    ) -> Self {
        let kind = entry.verified().program().kind;
        let (weir, theirs) = (Vec::new(), Vec::new());
        Self {
            name: name.to_owned(),
            kind,
            entry,
            table,
            _image: image,
            kernel,
            inputs,
            repeats: Vec::new(),
            weir,
            theirs,
        }
    }

    fn ours(&self, input: &Input, repeat: u32) -> Result<f64> {
        let mut env = TestEnv::default();
        let mut run = Run::new(&mut env, 0).with_table(&self.table);
        let input = Input { repeat, ..input.clone() };
        let start = now_ns(Clock::Thread);
        test_run(self.kind, &input, &mut run, |run, context| self.entry.run(run, context))?;
        Ok((now_ns(Clock::Thread) - start) as f64 / f64::from(repeat))
    }

    fn kernels(&self, kernel: &KernelProgram, input: &Input, repeat: u32) -> Result<f64> {
        let context = context_bytes(self.kind, &input.fields, input.packet.len());
        let run = TestRun { data: &input.packet, context: &context, repeat };
        let start = now_ns(Clock::Thread);
        kernel.test_run(&run)?;
        Ok((now_ns(Clock::Thread) - start) as f64 / f64::from(repeat))
    }

    /// How often to run on each packet.
    fn calibrate(&mut self) -> Result<()> {
        const PROBE: u32 = 100_000;
        for input in &self.inputs {
            let ns = self.ours(input, PROBE)?.max(1.0);
            self.repeats.push((MEASURE_NS as f64 / ns) as u32);
        }
        Ok(())
    }

    /// One round: each packet here and there.
    fn round(&mut self) -> Result<()> {
        let (mut weir, mut theirs) = (0.0, 0.0);
        for (input, repeat) in self.inputs.iter().zip(&self.repeats) {
            weir += self.ours(input, *repeat)?;
            if let Some((set, at)) = &self.kernel {
                theirs += self.kernels(&set.programs[*at], input, *repeat)?;
            }
        }
        let packets = self.inputs.len() as f64;
        self.weir.push(weir / packets);
        self.theirs.push(theirs / packets);
        Ok(())
    }

    fn row(&self, empty: Option<&Subject>) -> Row {
        let asked = self.kernel.is_some();
        let (weir_ns, kernel_ns) = (median(&self.weir), asked.then(|| median(&self.theirs)));
        let weir_net_ns = weir_ns - empty.map_or(0.0, |empty| median(&empty.weir));
        let kernel_net_ns = kernel_ns.map(|ns| ns - empty.map_or(0.0, |empty| median(&empty.theirs)));
        Row {
            program: self.name.clone(),
            kind: self.kind.name(),
            packets: self.inputs.len(),
            weir_ns,
            kernel_ns,
            weir_net_ns,
            kernel_net_ns,
            ratio: kernel_ns.map(|ns| weir_ns / ns),
            // A difference below the clock's noise has no ratio.
            ratio_net: kernel_net_ns.filter(|ns| *ns > 0.5 && empty.is_some()).map(|ns| weir_net_ns / ns),
        }
    }
}

/// The middle one; of an even number the higher of the two.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Measures every program, the empty ones first.
pub(crate) fn measure(rounds: usize, kernel: bool) -> Result<Vec<Row>> {
    let kinds = [ProgramType::Xdp, ProgramType::SchedCls, ProgramType::SchedAct];
    let mut subjects: Vec<Subject> =
        kinds.iter().map(|kind| Subject::empty(*kind, kernel)).collect::<Result<_>>()?;
    for (name, test) in ProgramTest::all()? {
        for program in &test.progs {
            subjects.push(Subject::of(&test, program, kernel).with_context(|| format!("{name}: {program}"))?);
        }
    }
    subjects.iter_mut().try_for_each(Subject::calibrate)?;
    for _ in 0..rounds {
        subjects.iter_mut().try_for_each(Subject::round)?;
    }
    let (empty, real) = subjects.split_at(kinds.len());
    let of_kind = |kind| empty.iter().find(|subject| subject.kind == kind);
    let rows = empty.iter().map(|subject| subject.row(None));
    Ok(rows.chain(real.iter().map(|subject| subject.row(of_kind(subject.kind)))).collect())
}
