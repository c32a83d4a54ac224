//! Making and taking room inside a packet's buffer.

use weir_ebpf::abi::Errno;

use super::Context;

impl Context<'_> {
    /// Makes `count` zero bytes at `at` of the packet. What is before them, metadata included, moves into
    /// the headroom as far as there is any (what is behind them into the tailroom, for bytes at the end);
    /// `-ENOMEM` when the buffer is too small.
    pub(crate) fn insert(&mut self, at: usize, count: usize) -> Result<(), Errno> {
        let (meta, data, room) = (self.meta_range(), self.data_range(), self.room_len());
        if at > data.len() {
            return Err(Errno::ENOMEM);
        }
        let (headroom, tailroom) = (meta.start, room - data.end);
        let down = if at == data.len() { count.saturating_sub(tailroom) } else { count.min(headroom) };
        let up = count - down;
        if down > headroom || up > tailroom {
            return Err(Errno::ENOMEM);
        }
        let gap = data.start + at;
        let bytes = self.room_mut();
        bytes.copy_within(gap..data.end, gap + up);
        bytes.copy_within(meta.start..gap, meta.start - down);
        bytes[gap - down..gap + up].fill(0);
        self.place(meta.start - down, data.start - down..data.end + up);
        Ok(())
    }

    /// Takes `count` bytes at `at` out of the packet; what is before them moves up to what is behind.
    pub(crate) fn remove(&mut self, at: usize, count: usize) -> Result<(), Errno> {
        let (meta, data) = (self.meta_range(), self.data_range());
        if at + count > data.len() {
            return Err(Errno::ENOMEM);
        }
        if at + count == data.len() {
            self.place(meta.start, data.start..data.end - count);
            return Ok(());
        }
        self.room_mut().copy_within(meta.start..data.start + at, meta.start + count);
        self.place(meta.start + count, data.start + count..data.end);
        Ok(())
    }
}
