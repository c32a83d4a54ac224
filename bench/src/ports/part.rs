//! The parts that a measurement needs as processes of their own: generator, sink, the kernel's side, weir's ports.
//! Each takes its devices by name, in the namespace it is started in, and goes on until it is ended.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use weir_ebpf::asm::assemble_with;
use weir_ebpf::encode;
use weir_ebpf::isa::{Imm64, Insn};
use weir_io::Port;
use weir_io::afxdp::{Direct, Kernel as _, Punt, Rings, Sharing, Wanted, XdpPort, open};
use weir_packet::{Batch, ChunkSize, Pool, Umem};
use weir_sys::affinity;
use weir_sys::bpf::{KernelMap, KernelProgram, LoadAttr, MapAttr, XdpLink};
use weir_sys::device::{DeviceName, Devices};
use weir_tests::mirror::Mirror;
use weir_tests::program::{ProgramTest, root};
use weir_vm::Engine;

/// `BPF_PROG_TYPE_XDP`, `BPF_MAP_TYPE_DEVMAP`.
const PROG_TYPE_XDP: u32 = 6;
const MAP_TYPE_DEVMAP: u32 = 14;
/// Packets that the generator makes in one call.
const FLOOD: u32 = 1 << 20;

/// Becomes a part: `CORE WHAT DEVICE…`.
pub(crate) fn be(words: &[String]) -> Result<()> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let [core, what, devices @ ..] = words.as_slice() else { bail!("wanted: CORE WHAT DEVICE…") };
    affinity::pin(core.parse().context("wanted: a core's number")?)?;
    match (*what, devices) {
        ("generator", [device]) => generator(device),
        ("drop", [device]) => hold(&attach(device, "r0 = 1; exit", &[])?),
        ("redirect", [from, to]) => redirect(from, to),
        ("weir-drop", [device]) => weir_drop(device),
        ("weir-forward", [one, other]) => weir_forward(one, other),
        ("route", [device]) => route(device),
        (what, devices) => bail!("nothing is called {what} with {} devices", devices.len()),
    }
}

fn index(device: &str) -> Result<u32> {
    Devices::open()?.index(&DeviceName::new(device)?).with_context(|| device.to_owned())
}

fn load(text: &str, maps: &[&KernelMap]) -> Result<KernelProgram> {
    let mut insns = assemble_with(text, &["map"])?;
    for insn in &mut insns {
        if let Insn::LoadImm64 { value: Imm64::Map(map), .. } = insn {
            *map = maps[*map as usize].fd() as u32;
        }
    }
    let insns = encode::to_bytes(&encode::encode(&insns));
    let attr =
        LoadAttr { kind: PROG_TYPE_XDP, insns: &insns, license: "GPL", log_level: 1, ..LoadAttr::default() };
    KernelProgram::load(&attr).map_err(|error| anyhow::anyhow!("{error}\n{}", error.log))
}

fn attach(device: &str, text: &str, maps: &[&KernelMap]) -> Result<XdpLink> {
    XdpLink::create(&load(text, maps)?, index(device)?, true).with_context(|| device.to_owned())
}

/// Waits for ever with something held.
fn hold<T>(_held: &T) -> Result<()> {
    loop {
        std::thread::park();
    }
}

/// A table with one device in it, to redirect to.
fn device_map(device: &str) -> Result<KernelMap> {
    let attr =
        MapAttr { kind: MAP_TYPE_DEVMAP, key_size: 4, value_size: 4, max_entries: 1, ..MapAttr::default() };
    let map = KernelMap::create(&attr)?;
    map.update(&[0; 4], &index(device)?.to_ne_bytes(), 0)?;
    Ok(map)
}

const REDIRECT: &str = "r1 = map[map] ll; r2 = 0; r3 = 0; call bpf_redirect_map; exit";

/// Writes what routers rewrite: frames come round again as the one before left them (`LINK`, `HOP`: the link
/// addresses, time to live and checksum of [`packet`]). Then redirects.
const GENERATE: &str = "
    r2 = *(u32 *)(r1 + 0)
    r3 = *(u32 *)(r1 + 4)
    r4 = r2
    r4 += 34
    if r4 > r3 goto send
    r4 = LINK ll
    *(u64 *)(r2 + 0) = r4
    w4 = REST
    *(u32 *)(r2 + 8) = r4
    w4 = HOP
    *(u32 *)(r2 + 22) = r4
send:
    ";

/// Sends UDP packets of 60 bytes (64 with the checksum of a wire) from a device to its peer, as fast as it goes.
fn generator(device: &str) -> Result<()> {
    let map = device_map(device)?;
    let packet = packet();
    let number = |range: std::ops::Range<usize>| {
        packet[range].iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
    };
    let text = format!("{GENERATE}{REDIRECT}")
        .replace("LINK", &format!("{:#x}", number(0..8)))
        .replace("REST", &format!("{}", number(8..12) as u32 as i32))
        .replace("HOP", &format!("{}", number(22..26) as u32 as i32));
    let program = load(&text, &[&map])?;
    loop {
        program.flood(&packet, FLOOD)?;
    }
}

/// From 10.0.0.1 to 10.2.0.2 by way of `in`, with a right header checksum.
fn packet() -> Vec<u8> {
    let mut packet = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    packet.extend([0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 2, 0, 2]);
    packet.extend([0x0f, 0xa0, 0x0f, 0xa1, 0, 26, 0, 0]);
    packet.resize(60, 0);
    let words = packet[14..34].chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let sum: u32 = words.sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[24..26].copy_from_slice(&sum.to_be_bytes());
    packet
}

fn redirect(from: &str, to: &str) -> Result<()> {
    let map = device_map(to)?;
    hold(&attach(from, REDIRECT, &[&map])?)
}

/// `programs/router` as the kernel runs it, with the kernel's own routes.
fn route(device: &str) -> Result<()> {
    let test = ProgramTest::read(&root().join("programs/router/router.weir.toml"))?;
    let image = test.image(Engine::Interpreter)?;
    let mirror = Mirror::of(&image)?;
    let program = mirror.program(&image, "router").context("the object has no program router")?;
    let link = XdpLink::create(program, index(device)?, true).with_context(|| device.to_owned())?;
    hold(&(link, mirror))
}

/// weir's ports, as a daemon has them: one umem, one pool, one worker.
struct Machine {
    kernel: Direct,
    sharing: Arc<Sharing>,
    pool: Pool,
}

impl Machine {
    fn new(ports: usize) -> Result<Machine> {
        let frames = ports * Rings::default().frames() + 4 * weir_packet::BATCH;
        let umem = Umem::new(frames, ChunkSize::Half)?;
        umem.populate();
        let pool = umem.pool(frames)?;
        Ok(Machine { kernel: Direct::new(), sharing: Sharing::new(umem), pool })
    }

    fn port(&self, device: &str) -> Result<XdpPort> {
        let attached = self.kernel.attach(device, &Punt::nothing(), None)?;
        ensure!(attached.queues == 1, "{device} has {} queues, wanted 1", attached.queues);
        let port = open(&self.kernel, &attached, &self.sharing, &Wanted::queue(device, 0))?;
        println!("{device}: {}", port.way());
        Ok(port)
    }
}

fn weir_drop(device: &str) -> Result<()> {
    let mut machine = Machine::new(1)?;
    let mut port = machine.port(device)?;
    let mut batch = Batch::new();
    loop {
        let _ = port.receive(&mut machine.pool, &mut batch, weir_packet::BATCH);
        machine.pool.put_all(&mut batch);
        port.flush(&mut machine.pool);
    }
}

fn weir_forward(one: &str, other: &str) -> Result<()> {
    let mut machine = Machine::new(2)?;
    let mut ports = [machine.port(one)?, machine.port(other)?];
    let mut batch = Batch::new();
    loop {
        for from in [0, 1] {
            let received = ports[from].receive(&mut machine.pool, &mut batch, weir_packet::BATCH);
            if received.frames > 0 {
                let _ = ports[1 - from].send(&mut machine.pool, &mut batch);
            }
        }
        for port in &mut ports {
            port.flush(&mut machine.pool);
        }
    }
}
