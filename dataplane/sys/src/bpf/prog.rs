//! Programs of the kernel: loading, and running on a packet (`BPF_PROG_TEST_RUN`).

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use thiserror::Error;

use super::{Command, bpf, own};

/// What to load.
#[derive(Clone, Debug, Default)]
pub struct LoadAttr<'a> {
    /// `BPF_PROG_TYPE_*`.
    pub kind: u32,
    /// `struct bpf_insn`s, map references as descriptors.
    pub insns: &'a [u8],
    /// Licence text.
    pub license: &'a str,
    /// 0 for no log, 1 or 2 for the verifier's; 4 added or alone, for what verifying took.
    pub log_level: u32,
    /// `BPF_F_*` load flags.
    pub flags: u32,
    /// `BPF_*` attach type.
    pub expected_attach_type: u32,
    /// A loaded BTF object with `func_info` records (8 bytes each), which callbacks need.
    pub func_info: Option<(RawFd, &'a [u8])>,
}

/// Why the kernel did not load a program.
#[derive(Debug, Error)]
#[error("the kernel refused the program: {source}")]
pub struct LoadError {
    /// What bpf(2) answered.
    pub source: io::Error,
    /// The verifier's log, if one was asked for.
    pub log: String,
}

#[repr(C)]
#[derive(Default)]
struct ProgLoadAttr {
    kind: u32,
    insn_count: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    flags: u32,
    name: [u8; 16],
    ifindex: u32,
    expected_attach_type: u32,
    btf_fd: u32,
    func_info_rec_size: u32,
    func_info: u64,
    func_info_count: u32,
    line_info_rec_size: u32,
    line_info: u64,
    line_info_count: u32,
    attach_btf_id: u32,
}

#[repr(C)]
#[derive(Default)]
struct TestRunAttr {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    pad: u32,
}

/// A packet to run a program on.
#[derive(Clone, Debug, Default)]
pub struct TestRun<'a> {
    /// The packet.
    pub data: &'a [u8],
    /// `struct xdp_md` or `struct __sk_buff` bytes; empty for none.
    pub context: &'a [u8],
    /// How often; 0 counts as once.
    pub repeat: u32,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRunOutput {
    /// What the program returned.
    pub retval: u32,
    /// The packet afterwards.
    pub data: Vec<u8>,
    /// The context afterwards, as long as the one given.
    pub context: Vec<u8>,
    /// Mean time of one run, whole nanoseconds.
    pub duration: Duration,
}

/// A program of the kernel; unloaded when dropped.
#[derive(Debug)]
pub struct KernelProgram {
    fd: OwnedFd,
    log: String,
}

impl KernelProgram {
    /// Loads a program; the kernel's verifier decides.
    pub fn load(attr: &LoadAttr<'_>) -> Result<Self, LoadError> {
        const LOG_BYTES: usize = 16 << 20;
        let mut log = vec![0u8; if attr.log_level == 0 { 0 } else { LOG_BYTES }];
        let license = CString::new(attr.license).unwrap_or_default();
        let (btf_fd, func_info) = attr.func_info.unwrap_or((0, &[]));
        let mut load = ProgLoadAttr {
            kind: attr.kind,
            insn_count: (attr.insns.len() / 8) as u32,
            insns: attr.insns.as_ptr() as u64,
            license: license.as_ptr() as u64,
            log_level: attr.log_level,
            log_size: log.len() as u32,
            log_buf: if log.is_empty() { 0 } else { log.as_mut_ptr() as u64 },
            flags: attr.flags,
            name: *b"weir\0\0\0\0\0\0\0\0\0\0\0\0",
            expected_attach_type: attr.expected_attach_type,
            btf_fd: btf_fd as u32,
            func_info_rec_size: if func_info.is_empty() { 0 } else { 8 },
            func_info: func_info.as_ptr() as u64,
            func_info_count: (func_info.len() / 8) as u32,
            ..ProgLoadAttr::default()
        };
        if func_info.is_empty() {
            load.func_info = 0;
        }
        // SAFETY: `ProgLoadAttr` mirrors the prog-load part of `union bpf_attr`. `insns`, `license`,
        // `func_info` and `log` outlive the call and have the lengths given; the licence ends in NUL.
        let result = unsafe { bpf(Command::ProgLoad, &mut load) };
        let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
        let log = String::from_utf8_lossy(&log[..end]).into_owned();
        match result {
            Ok(fd) => Ok(Self { fd: own(fd), log }),
            Err(source) => Err(LoadError { source, log }),
        }
    }

    /// The verifier's log, if one was asked for.
    pub fn log(&self) -> &str {
        &self.log
    }

    /// The descriptor, to put into prog arrays.
    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Runs it on a packet.
    pub fn test_run(&self, run: &TestRun<'_>) -> io::Result<TestRunOutput> {
        let mut data = vec![0u8; run.data.len() + 4096];
        let mut context = vec![0u8; run.context.len()];
        let mut attr = TestRunAttr {
            prog_fd: self.fd.as_raw_fd() as u32,
            data_size_in: run.data.len() as u32,
            data_size_out: data.len() as u32,
            data_in: run.data.as_ptr() as u64,
            data_out: data.as_mut_ptr() as u64,
            repeat: run.repeat,
            ..TestRunAttr::default()
        };
        if !context.is_empty() {
            attr.ctx_size_in = run.context.len() as u32;
            attr.ctx_size_out = context.len() as u32;
            attr.ctx_in = run.context.as_ptr() as u64;
            attr.ctx_out = context.as_mut_ptr() as u64;
        }
        // SAFETY: `TestRunAttr` mirrors the test-run part of `union bpf_attr`; every pointer has the
        // size beside it and outlives the call.
        unsafe { bpf(Command::ProgTestRun, &mut attr)? };
        data.truncate(attr.data_size_out as usize);
        context.truncate(attr.ctx_size_out as usize);
        let duration = Duration::from_nanos(u64::from(attr.duration));
        Ok(TestRunOutput { retval: attr.retval, data, context, duration })
    }

    /// Runs an XDP program on `count` copies of a packet that are real frames: where it redirects them, they go
    /// (`BPF_F_TEST_XDP_LIVE_FRAMES`, Linux 5.18). The thread is the sender, and its core pays.
    pub fn flood(&self, packet: &[u8], count: u32) -> io::Result<()> {
        const LIVE_FRAMES: u32 = 1 << 1;
        // struct xdp_md: data, data_end and the rest, which is zero.
        let mut context = [0_u8; 24];
        context[4..8].copy_from_slice(&(packet.len() as u32).to_ne_bytes());
        let mut attr = TestRunAttr {
            prog_fd: self.fd.as_raw_fd() as u32,
            data_size_in: packet.len() as u32,
            data_in: packet.as_ptr() as u64,
            repeat: count,
            ctx_size_in: context.len() as u32,
            ctx_in: context.as_ptr() as u64,
            flags: LIVE_FRAMES,
            batch_size: 64,
            ..TestRunAttr::default()
        };
        // SAFETY: as in `test_run`; nothing is written back, and both buffers outlive the call.
        unsafe { bpf(Command::ProgTestRun, &mut attr)? };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `r0 = 2; exit`
    const PASS: [u8; 16] = [0xb7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];

    #[test]
    fn the_kernel_runs_a_program() {
        if let Err(why) = super::super::available() {
            println!("skipped: needs CAP_BPF: {why}");
            return;
        }
        let attr = LoadAttr { kind: 6, insns: &PASS, license: "GPL", log_level: 1, ..LoadAttr::default() };
        let program = KernelProgram::load(&attr).unwrap();
        let output = program.test_run(&TestRun { data: &[7; 60], repeat: 1, ..TestRun::default() }).unwrap();
        assert_eq!((output.retval, output.data), (2, vec![7; 60]));
    }

    #[test]
    fn a_refusal_brings_the_log() {
        if super::super::available().is_err() {
            return;
        }
        let attr =
            LoadAttr { kind: 6, insns: &PASS[8..], license: "GPL", log_level: 1, ..LoadAttr::default() };
        let error = KernelProgram::load(&attr).unwrap_err();
        assert!(error.log.contains("R0 !read_ok"), "{}", error.log);
    }
}
