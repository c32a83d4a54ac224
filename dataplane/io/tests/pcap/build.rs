//! Capture files made by hand, in either byte order: what our own writers never write is read too.

/// Numbers in one byte order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Order(pub bool);

pub(crate) const BIG: Order = Order(true);
pub(crate) const LITTLE: Order = Order(false);

impl Order {
    pub(crate) fn half(self, value: u16) -> [u8; 2] {
        if self.0 { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    pub(crate) fn word(self, value: u32) -> [u8; 4] {
        if self.0 { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    pub(crate) fn words<const N: usize>(self, values: [u32; N]) -> Vec<u8> {
        values.iter().flat_map(|value| self.word(*value)).collect()
    }

    /// The header of a file of the first format.
    pub(crate) fn legacy(self, magic: u32, link: u32) -> Vec<u8> {
        let version = [self.half(2), self.half(4)].concat();
        [&self.word(magic)[..], &version, &self.words([0, 0, 65535, link])].concat()
    }

    /// A record of the first format, of which `wire_len` bytes were on the wire.
    pub(crate) fn record(self, seconds: u32, fraction: u32, bytes: &[u8], wire_len: u32) -> Vec<u8> {
        [&self.words([seconds, fraction, bytes.len() as u32, wire_len])[..], bytes].concat()
    }

    /// A block of the second format.
    pub(crate) fn block(self, kind: u32, body: &[u8]) -> Vec<u8> {
        let body = [body, &vec![0; body.len().next_multiple_of(4) - body.len()]].concat();
        let len = self.word(body.len() as u32 + 12);
        [&self.word(kind)[..], &len, &body, &len].concat()
    }

    pub(crate) fn section(self) -> Vec<u8> {
        let version = [self.half(1), self.half(0)].concat();
        self.block(0x0a0d_0d0a, &[&self.word(0x1a2b_3c4d)[..], &version, &[0xff; 8]].concat())
    }

    pub(crate) fn interface(self, link: u16, snap_len: u32, options: &[(u16, &[u8])]) -> Vec<u8> {
        let body = [&self.half(link)[..], &[0; 2], &self.word(snap_len), &self.options(options)].concat();
        self.block(1, &body)
    }

    pub(crate) fn enhanced(
        self,
        interface: u32,
        ticks: u64,
        bytes: &[u8],
        options: &[(u16, &[u8])],
    ) -> Vec<u8> {
        let len = bytes.len() as u32;
        let mut body = self.words([interface, (ticks >> 32) as u32, ticks as u32, len, len]);
        body.extend(bytes);
        body.resize(body.len().next_multiple_of(4), 0);
        body.extend(self.options(options));
        self.block(6, &body)
    }

    pub(crate) fn simple(self, bytes: &[u8], wire_len: u32) -> Vec<u8> {
        self.block(3, &[&self.word(wire_len)[..], bytes].concat())
    }

    fn options(self, options: &[(u16, &[u8])]) -> Vec<u8> {
        let mut list = Vec::new();
        for (code, value) in options {
            list.extend([self.half(*code), self.half(value.len() as u16)].concat());
            list.extend(*value);
            list.resize(list.len().next_multiple_of(4), 0);
        }
        list
    }
}

/// A UDP packet from host `number`, told apart by its length.
pub(crate) fn udp(number: u16, payload: usize) -> Vec<u8> {
    let [high, low] = number.to_be_bytes();
    let builder = etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, high, low], [2, 1, 0, 0, 0, 1])
        .ipv4([10, 0, high, low], [192, 0, 2, 1], 64)
        .udp(1024 + number, 40_000);
    let mut packet = Vec::new();
    builder.write(&mut packet, &vec![number as u8; payload]).unwrap();
    packet
}
