//! One packet through one program, beside the traffic: on maps of its own, which hold what the configuration gives
//! them.

use weir_ebpf::ProgramType;
use weir_ebpf::abi::Errno;
use weir_engine::load::{Image, Request};
use weir_maps::Map;
use weir_vm::env::{FibAnswer, FibQuery, PortInfo};
use weir_vm::test_run::{Input, test_run};
use weir_vm::{Clock, Env, Run};

use super::{LiveBackend, trouble};
use crate::problem::{Cause, Problem};
use crate::reply::{self, schema};

/// Runs that one request may ask for.
const REPEAT_MAX: u32 = 1_000_000;

/// A world with clocks and nothing else.
#[derive(Debug)]
struct World;

impl Env for World {
    fn now_ns(&mut self, clock: Clock) -> u64 {
        clock.system_ns()
    }
    fn random_u32(&mut self) -> u32 {
        4
    }
    fn trace(&mut self, _line: &[u8]) {}
    fn perf_event(&mut self, _map: &Map, _slot: u32, _record: &[u8]) -> Result<(), Errno> {
        Ok(())
    }
    fn wake(&mut self) {}
    fn flow_hash(&mut self, _packet: &[u8]) -> u32 {
        0
    }
    fn port(&mut self, _ifindex: u32) -> Option<PortInfo> {
        None
    }
    fn fib_lookup(&mut self, _query: &FibQuery) -> FibAnswer {
        FibAnswer::NoPort
    }
    fn clone_redirect(&mut self, _ifindex: u32, _ingress: bool, _packet: &[u8]) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.as_bytes().chunks(2);
    digits
        .map(|pair| {
            u8::from_str_radix(std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?, 16).ok()
        })
        .collect()
}

/// The name of what a program of this type answered.
fn verdict(kind: ProgramType, retval: u32) -> String {
    kind.answer_name(retval as i32).map_or_else(|| retval.to_string(), str::to_owned)
}

impl LiveBackend {
    pub(super) fn run(&self, word: &str, wanted: &reply::Run) -> Result<reply::Ran, Problem> {
        let name = self.program_name(word)?;
        let invalid = |detail: String| Problem::new(Cause::Invalid, detail);
        let packet =
            bytes(&wanted.data_in).ok_or_else(|| invalid("`data_in` is not hexadecimal".to_owned()))?;
        let mut input = Input::new(&packet);
        input.repeat = wanted.repeat.unwrap_or(1);
        if !(1..=REPEAT_MAX).contains(&input.repeat) {
            return Err(invalid(format!("`repeat` is from 1 to {REPEAT_MAX}")));
        }
        let current = self.current();
        if let Some(interface) = &wanted.interface {
            let port = current.generation.ports.iter().find(|port| port.name == *interface);
            let port = port.ok_or_else(|| super::missing("interface", interface, &[]))?;
            (input.fields.ingress_ifindex, input.fields.ifindex) = (port.ifindex, port.ifindex);
        }
        let entry = current.desired.config.program.iter().find(|entry| entry.name == name);
        let entry = entry.ok_or_else(|| super::missing("program", &name, &[]))?;
        let file = current.desired.config.resolve(&entry.object);
        let object =
            current.desired.objects.get(&file).ok_or_else(|| super::missing("object", &name, &[]))?;
        let request = Request {
            rodata: entry.rodata.clone(),
            entries: entry.maps.clone(),
            workers: 1,
            ..Request::default()
        };
        let image = Image::from_bytes(&file, object, &request).map_err(|error| trouble::load(&error))?;
        let prog = self.slot(&current, &name)?.loaded.verified().program().name.clone();
        let failed = |what: &str| Problem::new(Cause::Internal, what.to_owned());
        let loaded = image.program(&prog).ok_or_else(|| failed("the program is not in its object"))?;
        let table = image.table().map_err(|errno| failed(&errno.to_string()))?;
        let mut world = World;
        let mut run = Run::new(&mut world, 0).with_table(&table);
        let kind = loaded.verified().program().kind;
        let output = test_run(kind, &input, &mut run, |run, context| loaded.run(run, context));
        let output = output.map_err(|error| invalid(error.to_string()))?;
        Ok(reply::Ran {
            schema: schema("run"),
            retval: output.retval,
            verdict: verdict(kind, output.retval),
            duration: output.duration.as_nanos() as u64,
            data_out: output.packet.iter().map(|byte| format!("{byte:02x}")).collect(),
        })
    }
}
