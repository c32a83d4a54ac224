//! The ethtool ioctl: driver, rings, channels, offloads (`linux/ethtool.h`).

use std::io;
use std::os::fd::AsRawFd as _;

const GET_DRIVER: u32 = 0x03;
const GET_RINGS: u32 = 0x10;
const GET_STRINGS: u32 = 0x1b;
const GET_SET_INFO: u32 = 0x37;
const GET_FEATURES: u32 = 0x3a;
const GET_CHANNELS: u32 = 0x3c;
/// `ETH_SS_FEATURES`: the set of names of the offloads.
const SET_FEATURES: u32 = 4;
/// Words of one name: `ETH_GSTRING_LEN` bytes.
const NAME_WORDS: usize = 8;

/// Descriptors in the device's own rings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rings {
    /// Of each receive queue.
    pub rx: u32,
    /// The most that could be set.
    pub rx_max: u32,
    /// Of each transmit queue.
    pub tx: u32,
    /// The most that could be set.
    pub tx_max: u32,
}

/// Queues in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Channels {
    /// That only receive.
    pub rx: u32,
    /// That only send.
    pub tx: u32,
    /// That do both.
    pub combined: u32,
    /// The most of the last that could be set.
    pub combined_max: u32,
}

/// Asks one question; `words` begins with it and takes the answer.
///
/// # Safety
/// `words` must be as long as what the command makes the kernel write.
unsafe fn ask(device: &str, words: &mut [u32]) -> io::Result<()> {
    // SAFETY: ifreq is integers and arrays of them, for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let name = device.as_bytes();
    if name.len() >= request.ifr_name.len() || name.contains(&0) {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name) {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = words.as_mut_ptr().cast();
    let socket = super::open(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    // SAFETY: `request` is a whole ifreq with a terminated name, and its data points to `words`, which
    // the caller vouches is long enough; both outlive the call.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The name of the driver, such as `veth` or `ixgbe`.
pub fn driver(device: &str) -> io::Result<String> {
    let mut words = [0u32; 49];
    words[0] = GET_DRIVER;
    // SAFETY: struct ethtool_drvinfo is 196 bytes, 49 words.
    unsafe { ask(device, &mut words)? };
    Ok(text(&words[1..9]))
}

/// The sizes of its rings; an error when the driver has none to tell of.
pub fn rings(device: &str) -> io::Result<Rings> {
    let mut words = [0u32; 9];
    words[0] = GET_RINGS;
    // SAFETY: struct ethtool_ringparam is nine words.
    unsafe { ask(device, &mut words)? };
    let [_, rx_max, _, _, tx_max, rx, _, _, tx] = words;
    Ok(Rings { rx, rx_max, tx, tx_max })
}

/// How many queues are in use; an error when the driver does not say.
pub fn channels(device: &str) -> io::Result<Channels> {
    let mut words = [0u32; 9];
    words[0] = GET_CHANNELS;
    // SAFETY: struct ethtool_channels is nine words.
    unsafe { ask(device, &mut words)? };
    let [_, _, _, _, combined_max, rx, tx, _, combined] = words;
    Ok(Channels { rx, tx, combined, combined_max })
}

/// Every offload by the kernel's name (`rx-gro`, `tx-checksum-ip-generic` …), and whether it is on.
pub fn features(device: &str) -> io::Result<Vec<(String, bool)>> {
    // struct ethtool_sset_info: command, reserved, a mask of 64 bits, one count.
    let mut info = [GET_SET_INFO, 0, 1 << SET_FEATURES, 0, 0];
    // SAFETY: one bit of the mask asks for one count, which is the fifth word.
    unsafe { ask(device, &mut info)? };
    let count = info[4] as usize;
    // struct ethtool_gstrings: command, set, count, then the names.
    let mut names = vec![0u32; 3 + count * NAME_WORDS];
    names[..2].copy_from_slice(&[GET_STRINGS, SET_FEATURES]);
    // SAFETY: the number of features is a constant of the kernel (NETDEV_FEATURE_COUNT), so it writes
    // the `count` names that it announced.
    unsafe { ask(device, &mut names)? };
    // struct ethtool_gfeatures: command, blocks, then four words a block of 32 features.
    let blocks = count.div_ceil(32);
    let mut state = vec![0u32; 2 + blocks * 4];
    state[..2].copy_from_slice(&[GET_FEATURES, blocks as u32]);
    // SAFETY: the kernel writes at most as many blocks as the second word allows.
    unsafe { ask(device, &mut state)? };
    let active = |at: usize| state[2 + at / 32 * 4 + 2] >> (at % 32) & 1 == 1;
    let each = names[3..].chunks_exact(NAME_WORDS).enumerate();
    Ok(each.map(|(at, name)| (text(name), active(at))).filter(|(name, _)| !name.is_empty()).collect())
}

/// A terminated text in words.
fn text(words: &[u32]) -> String {
    let bytes: Vec<u8> =
        words.iter().flat_map(|word| word.to_ne_bytes()).take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
