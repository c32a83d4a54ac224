//! What compiled code refers to outside itself: helper bodies and maps, as addresses.

use std::sync::Arc;

use weir_ebpf::abi::Helper;
use weir_maps::Map;

/// What a program is linked with.
pub(crate) struct Link<'a> {
    /// The body of a helper, a [`crate::HelperFn`].
    pub(crate) helper: &'a dyn Fn(u32) -> Option<usize>,
    /// The body of a kernel function, likewise.
    pub(crate) kfunc: &'a dyn Fn(i32) -> Option<usize>,
    /// What there is to know of each of the program's maps.
    pub(crate) maps: &'a [MapLink],
    /// What `bpf_timer_set_callback` is told that the callback belongs to; none where it has no body.
    pub(crate) owner: usize,
    /// Whether the code must see exactly what the checked interpreter sees, down to the addresses of its
    /// stack ([`super::replay`]).
    pub(crate) exact: bool,
}

/// Where a map is, and where its values are when their addresses can be computed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MapLink {
    /// What programs and helper bodies know the map by.
    pub(crate) address: usize,
    /// Address of the first value, of kinds whose values [`weir_ebpf::isa::Imm64::MapValue`] may name.
    pub(crate) direct: Option<usize>,
    /// What can be done without a call.
    pub(crate) shape: Shape,
}

/// What is known of a map's insides.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// Nothing: every operation is a call.
    Opaque,
    /// Value `index` is at `base + index * stride`, for the first worker.
    Array {
        /// Value 0 of worker 0.
        base: usize,
        /// Bytes from value to value.
        stride: i32,
        /// How many values.
        len: u32,
        /// When each worker has values of its own.
        workers: Option<Workers>,
    },
    /// A prog array: `len` words of 32 bits, each 0 or the number of a program plus one.
    Programs {
        /// The first word.
        base: usize,
        /// How many.
        len: u32,
    },
}

/// The values of a per-worker array.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workers {
    /// How many workers have values.
    pub(crate) count: u32,
    /// Bytes from one worker's values to the next one's.
    pub(crate) stride: i32,
}

impl MapLink {
    /// What there is to know of a map.
    pub(crate) fn new(map: &Arc<Map>) -> Self {
        let address = Arc::as_ptr(map).expose_provenance();
        let direct = map.direct_value(0).map(|value| value.expose_provenance());
        Self { address, direct, shape: Shape::of(map).unwrap_or(Shape::Opaque) }
    }
}

impl Shape {
    fn of(map: &Map) -> Option<Self> {
        if let Some((base, len)) = map.prog_array_base() {
            return Some(Shape::Programs { base: base.expose_provenance(), len: u32::try_from(len).ok()? });
        }
        let layout = map.array_layout()?;
        let workers = match layout.percpu_stride {
            0 => None,
            stride => {
                let count = u32::try_from(map.cpus()).ok()?;
                Some(Workers { count, stride: i32::try_from(stride).ok()? })
            }
        };
        let (base, len) = (layout.base.expose_provenance(), u32::try_from(layout.len).ok()?);
        Some(Shape::Array { base, stride: i32::try_from(layout.stride).ok()?, len, workers })
    }
}

impl Link<'_> {
    /// Every helper that has a body, with its address.
    pub(crate) fn helpers(&self) -> impl Iterator<Item = (u32, usize)> {
        let numbers = Helper::ALL.iter().map(|helper| *helper as u32);
        numbers.filter_map(|number| Some((number, (self.helper)(number)?)))
    }
}
