//! Programs that write their generation into numbered packets (tests/corpus/live), with its number set in
//! the object's bytes: each upload is an object of its own, as a user's next version would be.

use anyhow::{Context as _, Result, ensure};

use crate::program::root;

/// What stands in the objects for the constants; little-endian, as the compiler wrote them.
const GENERATION: u32 = 0x5ee1_a11c;
const DROP_EVERY: u32 = 0x5ee1_d409;

/// A marking program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    /// What it writes; not 0.
    pub generation: u32,
    /// It drops the ids that leave 3 when divided by this; 0: none.
    pub drop_every: u32,
    /// Whether its scratch map has the other layout.
    pub wide: bool,
}

impl Marker {
    /// The object's bytes.
    pub fn object(&self) -> Result<Vec<u8>> {
        let name = if self.wide { "mark_wide.bpf.o" } else { "mark.bpf.o" };
        let path = root().join("tests/corpus/live").join(name);
        let mut bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
        set(&mut bytes, GENERATION, self.generation)?;
        set(&mut bytes, DROP_EVERY, self.drop_every)?;
        Ok(bytes)
    }

    /// Whether it drops this packet.
    pub fn drops(&self, id: u64) -> bool {
        self.drop_every != 0 && id % u64::from(self.drop_every) == 3
    }
}

/// Puts a constant where its placeholder stands, which must be one place.
fn set(bytes: &mut [u8], placeholder: u32, value: u32) -> Result<()> {
    let wanted = placeholder.to_le_bytes();
    let mut places = (0..bytes.len() - 3).filter(|at| bytes[*at..*at + 4] == wanted);
    let place = places.next().with_context(|| format!("{placeholder:#x} does not stand in the object"))?;
    ensure!(places.next().is_none(), "{placeholder:#x} stands in the object more than once");
    bytes[place..place + 4].copy_from_slice(&value.to_le_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use weir_engine::load::{Image, Request};
    use weir_vm::test_run::Input;
    use weir_vm::{Engine, TestEnv};

    use super::*;
    use crate::net::number::{Ends, Mark, Number, template};
    use crate::program::Bench;

    #[test]
    fn marks_are_written_and_drops_are_as_said() -> Result<()> {
        let address = ("10.0.0.1".parse()?, "10.0.0.2".parse()?);
        let mut frame = template(&Ends { link: ([2; 6], [4; 6]), address, port: (1000, 9) }, 60);
        for (generation, drop_every, wide) in [(7, 0, false), (8, 16, true)] {
            let marker = Marker { generation, drop_every, wide };
            let folder = crate::net::weir::Folder::create()?;
            let path = folder.write("mark.bpf.o", marker.object()?)?;
            let request =
                Request { programs: vec!["enter"], workers: 1, engine: Engine::Jit, ..Request::default() };
            let mut bench = Bench::new(Image::load(&path, &request)?, "enter", TestEnv::default())?;
            for id in [2u64, 3, 19] {
                Number::emit(&mut frame, (id % 4) as u32, id);
                let output = bench.run(&Input::new(&frame))?;
                let mark = Mark { first: generation, second: generation };
                assert_eq!(Number::parse(&output.packet).map(|number| number.mark), Some(mark));
                assert_eq!(output.retval, if marker.drops(id) { 1 } else { 2 }, "id {id} of {marker:?}");
            }
        }
        Ok(())
    }
}
