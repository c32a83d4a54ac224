//! The router's configuration on the topology, and the questions that tests ask of hosts behind it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};

use super::namespace::Namespace;

/// `config/router.toml` on the devices of the topology, addresses and all.
pub const ROUTER: &str = r#"
version = 1

[interface.wan]
device = "wan"
address = ["192.0.2.1/24", "2001:db8:a::1/64"]

[interface.lan]
device = "lan"
address = ["198.51.100.1/24", "2001:db8:b::1/64"]

[[program]]
name = "router"
object = "@ROOT@/programs/router/router.bpf.o"
prog = "router"

[forward]
program = "router"

[router]
enabled = true
kernel_fib = { table = "main", verify_every = "1s" }
icmp = { rate = 10000 }
"#;

/// Sends so many bytes by TCP from one host to an address of another, and has them echoed as a checksum:
/// the bytes of a second, or what went wrong.
pub fn transfer(from: &Namespace, to: &Namespace, address: &str, bytes: u64) -> Result<f64> {
    let listener = to.inside(|| TcpListener::bind((address, 0)))??;
    let server: SocketAddr = listener.local_addr()?;
    let start = Instant::now();
    std::thread::scope(|scope| {
        let serve = scope.spawn(move || serve(&listener));
        let sum = from.inside(|| send(server, bytes))??;
        let seen = serve.join().map_err(|_| anyhow!("the server died"))??;
        ensure!(seen == (bytes, sum), "sent {bytes} bytes with sum {sum:x}, seen {seen:x?}");
        Ok(bytes as f64 / start.elapsed().as_secs_f64())
    })
}

const CHUNK: usize = 64 << 10;
/// How long a side may hear nothing.
const SILENCE: Duration = Duration::from_secs(20);

/// Takes one connection to its end, and answers with the sum.
fn serve(listener: &TcpListener) -> Result<(u64, u64)> {
    let start = Instant::now();
    listener.set_nonblocking(true)?;
    let mut stream = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(_) if start.elapsed() < SILENCE => std::thread::sleep(Duration::from_millis(2)),
            Err(error) => return Err(error).context("nobody connected"),
        }
    };
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(SILENCE))?;
    let (mut part, mut count, mut sum) = (vec![0; CHUNK], 0u64, Sum::default());
    loop {
        match stream.read(&mut part).context("receiving")? {
            0 => break,
            got => {
                sum.add(&part[..got]);
                count += got as u64;
            }
        }
    }
    stream.write_all(&sum.0.to_le_bytes())?;
    Ok((count, sum.0))
}

fn send(server: SocketAddr, bytes: u64) -> Result<u64> {
    let mut stream = TcpStream::connect_timeout(&server, Duration::from_secs(5)).context("connecting")?;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    let (mut left, mut seed, mut sum) = (bytes, 1u64, Sum::default());
    let mut part = vec![0u8; CHUNK];
    while left > 0 {
        for word in part.chunks_exact_mut(8) {
            // Knuth's MMIX generator: no two chunks are the same.
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            word.copy_from_slice(&seed.to_le_bytes());
        }
        let piece = &part[..left.min(CHUNK as u64) as usize];
        stream.write_all(piece).context("sending")?;
        sum.add(piece);
        left -= piece.len() as u64;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut answer = [0; 8];
    stream.read_exact(&mut answer).context("waiting for the sum")?;
    ensure!(answer == sum.0.to_le_bytes(), "the server has another sum");
    Ok(sum.0)
}

/// FNV-1a over words, the last bytes one by one: order and content, whatever the pieces are.
struct Sum(u64, [u8; 8], usize);

impl Default for Sum {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325, [0; 8], 0)
    }
}

impl Sum {
    fn add(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.2 == 0 && bytes.len() >= 8 {
                let (word, rest) = bytes.split_at(8);
                self.word(u64::from_le_bytes(word.try_into().unwrap_or_default()));
                bytes = rest;
                continue;
            }
            self.1[self.2] = bytes[0];
            self.2 = (self.2 + 1) % 8;
            bytes = &bytes[1..];
            if self.2 == 0 {
                self.word(u64::from_le_bytes(self.1));
            }
        }
    }

    fn word(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
    }
}

/// Whether one echo comes back within a second.
pub fn reaches(from: &Namespace, address: &str) -> Result<bool> {
    Ok(from.try_run(&format!("ping -n -c 1 -W 1 {address}"), Duration::from_secs(5))?.success())
}

/// How long until an echo comes back, asked every twenty milliseconds.
pub fn until_reached(from: &Namespace, address: &str, limit: Duration) -> Result<Duration> {
    let line = format!("ping -n -c 1 -W 0.02 {address}");
    from.until(&format!("{address} answers {}", from.name()), limit, |from| {
        Ok(from.try_run(&line, Duration::from_secs(5))?.success())
    })
}

/// How long until none comes back any more.
pub fn until_silent(from: &Namespace, address: &str, limit: Duration) -> Result<Duration> {
    let line = format!("ping -n -c 1 -W 0.1 {address}");
    from.until(&format!("{address} answers no more"), limit, |from| {
        Ok(!from.try_run(&line, Duration::from_secs(5))?.success())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_know_order_and_content_but_not_pieces() {
        let sum = |pieces: &[&[u8]]| {
            let mut sum = Sum::default();
            pieces.iter().for_each(|piece| sum.add(piece));
            sum.0
        };
        let whole: Vec<u8> = (0..64).collect();
        assert_eq!(sum(&[&whole]), sum(&[&whole[..3], &whole[3..30], &whole[30..]]));
        let mut other = whole.clone();
        other.swap(8, 16);
        assert_ne!(sum(&[&whole]), sum(&[&other]));
    }
}
