//! What was watched, as people and captures read it.

use std::io::{self, Write};

use weir_ebpf::ProgramType;
use weir_io::pcap::{NgWriter, Packet, Verdict};

use crate::chain::XdpOutcome;
use crate::config::ClassId;
use crate::generation::Generation;
use crate::observe::{Captured, Point, Step, TraceRecord};
use crate::pipeline::{Judgement, Lane};

/// What programs answered about a packet, as `epb_verdict` tells it.
pub fn verdicts(judgement: &Judgement) -> Vec<Verdict> {
    let xdp = match judgement.xdp {
        Some(XdpOutcome::Verdict(action)) => Some(Verdict::Xdp(action as u32)),
        Some(XdpOutcome::Invalid) | None => None,
    };
    xdp.into_iter().chain(judgement.tc.map(|action| Verdict::Tc(action as i32))).collect()
}

/// Where a packet went and in which class, in a few words: `out lan class 1:10`, `drop xdp-drop`.
pub fn fate(judgement: &Judgement, port: impl Fn(usize) -> String) -> String {
    let lane = match judgement.lane {
        Lane::Port { port: to, .. } => format!("out {}", port(to)),
        Lane::Host => "pass".to_owned(),
        Lane::Consumed => "consumed".to_owned(),
        Lane::Drop(reason) => format!("drop {}", reason.name()),
    };
    match judgement.classid {
        0 => lane,
        classid => format!("{lane} class {}", ClassId(classid)),
    }
}

impl Captured {
    /// Writes the packet with what was said of it; interfaces are numbered as ports are.
    pub fn write<W: Write>(&self, writer: &mut NgWriter<W>, names: &[String]) -> io::Result<()> {
        let name = |port: usize| names.get(port).cloned().unwrap_or_else(|| format!("port {port}"));
        let (verdicts, fate) = match &self.judgement {
            Some(judgement) => (verdicts(judgement), fate(judgement, name)),
            None => (Vec::new(), "entry".to_owned()),
        };
        let comment = format!("{fate} worker {}", self.worker);
        writer.packet(&Packet {
            interface: self.port as u32,
            wire_len: self.wire_len as u32,
            direction: (self.point == Point::Entry).then_some(weir_io::pcap::Direction::In),
            queue: Some(self.queue),
            verdicts: &verdicts,
            comment: Some(&comment),
            ..Packet::new(self.at_ns, &self.bytes)
        })
    }
}

/// One line of a packet's way.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Stage {
    /// The stage, and the port it belongs to: `xdp wan`.
    pub stage: String,
    /// The program that was asked, if one was.
    pub program: Option<String>,
    /// What came of it.
    pub result: String,
}

impl TraceRecord {
    /// The way, stage by stage. Names are those of `now`; a record of another generation has numbers instead.
    pub fn stages(&self, now: &Generation) -> Vec<Stage> {
        let known = (now.number == self.generation).then_some(now);
        let port = |number: usize| {
            now.ports.get(number).map_or_else(|| format!("port {number}"), |plan| plan.name.clone())
        };
        let program = |number: usize| match known.and_then(|now| now.programs.get(number)) {
            Some(slot) => slot.name.clone(),
            None => format!("program {number} of generation {}", self.generation),
        };
        let first = Stage {
            stage: format!("receive {}", port(self.place.port)),
            program: None,
            result: format!("{} bytes, queue {}, worker {}", self.len, self.place.queue, self.place.worker),
        };
        let step = |step: &Step| match *step {
            Step::Program { hook, port: at, program: number, kind, answer, ticks, len } => Stage {
                stage: format!("{} {}", hook.name(), port(at)),
                program: Some(program(number)),
                result: format!("{}, {:.0} ns, {len} bytes", answered(kind, answer), nanoseconds(ticks)),
            },
            Step::Redirected { port: to, ingress } => Stage {
                stage: "redirect".to_owned(),
                program: None,
                result: format!("{} {}", if ingress { "into" } else { "out of" }, port(to)),
            },
            Step::Classified { classid } => {
                Stage { stage: "class".to_owned(), program: None, result: ClassId(classid).to_string() }
            }
        };
        let more = (self.more > 0).then(|| Stage {
            stage: "…".to_owned(),
            program: None,
            result: format!("{} more steps", self.more),
        });
        let last = self.judgement.as_ref().map(|judgement| Stage {
            stage: "end".to_owned(),
            program: None,
            result: fate(judgement, port),
        });
        std::iter::once(first).chain(self.steps.iter().map(step)).chain(more).chain(last).collect()
    }
}

/// An answer by its name.
fn answered(kind: ProgramType, answer: i32) -> String {
    kind.answer_name(answer).map_or_else(|| answer.to_string(), str::to_owned)
}

fn nanoseconds(ticks: u64) -> f64 {
    let rate = weir_sys::clock::tick_rate();
    ((ticks as f64 - rate.overhead) / rate.per_ns).max(0.0)
}

#[cfg(test)]
mod tests {
    use weir_ebpf::abi::XdpAction;

    use super::*;
    use crate::reason::Reason;

    #[test]
    fn a_captured_packet_says_what_became_of_it() {
        let judgement = Judgement {
            lane: Lane::Drop(Reason::XdpDrop),
            xdp: Some(XdpOutcome::Verdict(XdpAction::Drop)),
            tc: None,
            classid: 0x1_0010,
        };
        let captured = Captured {
            port: 1,
            queue: 3,
            worker: 0,
            at_ns: 1_000_000_007,
            point: Point::Exit,
            judgement: Some(judgement),
            wire_len: 90,
            bytes: vec![1; 60],
        };
        let names = ["lan".to_owned(), "wan".to_owned()];
        let mut writer = NgWriter::new(Vec::new(), &names).unwrap();
        captured.write(&mut writer, &names).unwrap();
        let file = writer.finish().unwrap();
        let find = |wanted: &[u8]| file.windows(wanted.len()).any(|part| part == wanted);
        assert!(find(b"drop xdp-drop class 1:10 worker 0"));
        assert!(find(&[2, 1, 0, 0, 0, 0, 0, 0, 0]), "epb_verdict: Linux_eBPF_XDP, XDP_DROP");
        assert_eq!(verdicts(&judgement), [Verdict::Xdp(1)]);
    }

    #[test]
    fn answers_have_names_where_there_is_one() {
        assert_eq!(answered(ProgramType::Xdp, 2), "XDP_PASS");
        assert_eq!(answered(ProgramType::SchedCls, -1), "TC_ACT_UNSPEC");
        assert_eq!(answered(ProgramType::Xdp, 77), "77");
    }
}
