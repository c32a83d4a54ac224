//! `BPF_MAP_TYPE_LPM_TRIE`: the longest stored prefix of a key.

use weir_ebpf::abi::Errno;
use weir_ebpf::program::MapSpec;

use crate::MapError;
use crate::storage::Kind;

#[derive(Debug)]
pub(crate) struct LpmTrie {}

impl LpmTrie {
    pub(crate) fn new(spec: &MapSpec) -> Result<LpmTrie, MapError> {
        let what = "this kind is not built yet".to_owned();
        Err(MapError::Refused { name: spec.name.clone(), kind: spec.kind, what, errno: Errno::ENOTSUPP })
    }
}

impl Kind for LpmTrie {
    fn read(&self, _key: &[u8], _locked: bool) -> Result<Vec<u8>, Errno> {
        Err(Errno::ENOTSUPP)
    }

    fn entries(&self) -> usize {
        0
    }

    fn bytes(&self) -> usize {
        0
    }
}
