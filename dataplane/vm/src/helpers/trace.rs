//! `bpf_trace_printk`: a line for people (kernel/trace/bpf_trace.c, `bpf_bprintf_prepare` in
//! kernel/bpf/helpers.c, lib/vsprintf.c; 6.18).

use weir_ebpf::abi::Errno;
use weir_ebpf::format::{BadFormat, Conversion, Piece, What, pieces};

use super::call::Call;

/// Longest line (`BPF_TRACE_PRINTK_SIZE`), its terminator included.
const LINE_MAX: usize = 1024;

pub(super) fn printk(call: &mut Call<'_>) -> Result<u64, Errno> {
    let format = call.memory(0).to_vec();
    let args = [call.u64(2), call.u64(3), call.u64(4)];
    print(call, &format, &args)
}

fn print(call: &mut Call<'_>, format: &[u8], args: &[u64]) -> Result<u64, Errno> {
    let mut line = render(format, args)?;
    line.truncate(LINE_MAX - 1);
    let len = line.len() as u64;
    let text = line.strip_suffix(b"\n").unwrap_or(&line);
    call.env().trace(text);
    Ok(len)
}

/// `bpf_trace_vprintk`: the arguments stand in memory.
pub(super) fn vprintk(call: &mut Call<'_>) -> Result<u64, Errno> {
    let (format, args) = (call.memory(0).to_vec(), words(&call.memory(2).to_vec())?);
    print(call, &format, &args)
}

/// `bpf_snprintf`: as much of the text as fits, and a zero; answers how long all of it is with that.
pub(super) fn snprintf(call: &mut Call<'_>) -> Result<u64, Errno> {
    let (into, args) = (call.memory(0), words(&call.memory(3).to_vec())?);
    let text = render(&call.text(2), &args)?;
    if into.len() > 0 {
        let fits = text.len().min(into.len() - 1);
        into.write(0, &text[..fits]);
        into.write(fits, &[0]);
    }
    Ok(text.len() as u64 + 1)
}

/// The arguments of a format that stand in memory.
fn words(data: &[u8]) -> Result<Vec<u64>, Errno> {
    const ARGS_MAX: usize = 12;
    if !data.len().is_multiple_of(8) || data.len() > ARGS_MAX * 8 {
        return Err(Errno::EINVAL);
    }
    Ok(data.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect())
}

fn render(format: &[u8], args: &[u64]) -> Result<Vec<u8>, Errno> {
    if !format.contains(&0) {
        return Err(Errno::EINVAL);
    }
    let mut args = args.iter();
    let mut line = Vec::new();
    for piece in pieces(format) {
        match piece.map_err(|BadFormat| Errno::EINVAL)? {
            Piece::Byte(byte) => line.push(byte),
            Piece::Conversion(conversion) => {
                print_one(&conversion, *args.next().ok_or(Errno::EINVAL)?, &mut line)
            }
        }
    }
    Ok(line)
}

fn print_one(conversion: &Conversion<'_>, arg: u64, line: &mut Vec<u8>) {
    let Conversion { flags, width, what } = *conversion;
    let body = match what {
        What::Number { bits, letter } => number(arg, bits, letter, flags),
        What::Char => (arg as u8 as char).to_string(),
        What::Pointer => format!("{arg:016x}"),
        What::Text => String::from_utf8_lossy(&text_at(arg)).into_owned(),
        What::Address { v6, dots } => address(arg, v6, dots),
    };
    let missing = width.min(LINE_MAX).saturating_sub(body.len());
    let zeros = flags.contains(&b'0') && matches!(what, What::Number { .. });
    let (sign, digits) = match body.strip_prefix(['-', '+', ' ']) {
        Some(digits) if zeros => (&body[..1], digits),
        _ => ("", body.as_str()),
    };
    if flags.contains(&b'-') {
        line.extend_from_slice(body.as_bytes());
        line.resize(line.len() + missing, b' ');
    } else {
        line.extend_from_slice(sign.as_bytes());
        line.resize(line.len() + missing, if zeros { b'0' } else { b' ' });
        line.extend_from_slice(digits.as_bytes());
    }
}

fn number(arg: u64, bits: u32, letter: u8, flags: &[u8]) -> String {
    let unsigned = if bits == 64 { arg } else { u64::from(arg as u32) };
    let signed = if bits == 64 { arg as i64 } else { i64::from(arg as i32) };
    let sign = match (signed >= 0, flags.contains(&b'+'), flags.contains(&b' ')) {
        (true, true, _) => "+",
        (true, false, true) => " ",
        _ => "",
    };
    match letter {
        b'x' => format!("{unsigned:x}"),
        b'X' => format!("{unsigned:X}"),
        b'u' => format!("{unsigned}"),
        _ => format!("{sign}{signed}"),
    }
}

/// The text at an address, as far as it is readable. Programs may pass any number; the kernel, too, only
/// tries to read there.
fn text_at(address: u64) -> Vec<u8> {
    const TEXT_MAX: usize = 512;
    let mut text = vec![0; TEXT_MAX];
    let len = weir_sys::probe::read(address, &mut text);
    if len == 0 {
        return b"(fault)".to_vec();
    }
    text.truncate(len);
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(len);
    text.truncate(end);
    text
}

/// `%pI4`, `%pI6` and their forms with leading zeros: the address that the argument points to.
fn address(arg: u64, v6: bool, dots: bool) -> String {
    let mut bytes = [0u8; 16];
    let len = if v6 { 16 } else { 4 };
    if weir_sys::probe::read(arg, &mut bytes[..len]) < len {
        bytes = [0; 16];
    }
    let group = |pair: &[u8]| format!("{:02x}{:02x}", pair[0], pair[1]);
    match (v6, dots) {
        (false, true) => bytes[..4].iter().map(u8::to_string).collect::<Vec<_>>().join("."),
        (false, false) => bytes[..4].iter().map(|byte| format!("{byte:03}")).collect::<Vec<_>>().join("."),
        (true, true) => bytes.chunks(2).map(group).collect::<Vec<_>>().join(":"),
        (true, false) => bytes.chunks(2).map(group).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(format: &str, args: &[u64]) -> Option<String> {
        let format = [format.as_bytes(), &[0]].concat();
        render(&format, args).ok().map(|line| String::from_utf8(line).unwrap())
    }

    #[test]
    fn formats_print_as_in_the_kernel() {
        let minus_one = u64::MAX;
        let cases: &[(&str, [u64; 3], &str)] = &[
            ("plain 100%%", [0; 3], "plain 100%"),
            ("%d %i %u", [minus_one, 5, minus_one], "-1 5 4294967295"),
            ("%ld %llu %lx", [minus_one, minus_one, 0xabc], "-1 18446744073709551615 abc"),
            ("[%5d] [%-5d] [%05d]", [42, 42, (-42i64) as u64], "[   42] [42   ] [-0042]"),
            ("%x %X %c", [0xbeef, 0xbeef, 0x41], "beef BEEF A"),
            ("%p", [0x1234, 0, 0], "0000000000001234"),
        ];
        for (format, args, wanted) in cases {
            assert_eq!(printed(format, args).as_deref(), Some(*wanted), "{format}");
        }
    }

    #[test]
    fn memory_is_printed_when_it_can_be_read() {
        let (v4, v6, text) =
            ([192u8, 0, 2, 1], [0x20u8, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], b"hi\0");
        let args = [v4.as_ptr().addr() as u64, v6.as_ptr().addr() as u64, text.as_ptr().addr() as u64];
        let line = printed("%pI4 %pI6 %s", &args).unwrap();
        assert_eq!(line, "192.0.2.1 2001:0db8:0000:0000:0000:0000:0000:0001 hi");
        assert_eq!(printed("%s", &[8, 0, 0]).as_deref(), Some("(fault)"));
    }

    #[test]
    fn what_the_kernel_refuses_is_refused() {
        for format in ["%d %d %d %d", "%f", "%lld%", "%", "%5", "%ls", "%pQ", "a\u{1}b"] {
            assert_eq!(printed(format, &[0; 3]), None, "{format}");
        }
        assert_eq!(render(b"no end", &[]), Err(Errno::EINVAL));
    }
}
