//! What a running weir says of where its packets and frames are, and whether that adds up.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::weir::Weir;

/// `weir stats -j` at one moment.
#[derive(Clone, Debug)]
pub struct Counted(pub Value);

impl Counted {
    /// Asks a weir, again while a worker has no time to answer, for then its figures are of a while ago.
    pub fn ask(weir: &Weir) -> Result<Self> {
        let mut tries = 50;
        loop {
            let stats = weir.json(&["stats"])?;
            tries -= 1;
            let silent = stats["ledger"]["silent"].as_array().is_some_and(|workers| !workers.is_empty());
            if !silent || tries == 0 {
                return Ok(Self(stats));
            }
        }
    }

    /// A number of an interface by its path, such as `received.packets`.
    pub fn interface(&self, name: &str, path: &str) -> Result<u64> {
        let interfaces = self.0["interfaces"].as_array().context("stats have interfaces")?;
        let found = interfaces.iter().find(|interface| interface["name"] == name);
        let mut value = found.with_context(|| format!("stats know no interface {name}"))?;
        for part in path.split('.') {
            value = &value[part];
        }
        value.as_u64().with_context(|| format!("interface {name} has no {path}"))
    }

    /// Whether an interface is up.
    pub fn is_up(&self, name: &str) -> bool {
        let interfaces = self.0["interfaces"].as_array();
        interfaces.is_some_and(|all| all.iter().any(|one| one["name"] == name && one["state"] == "up"))
    }

    /// Drops for a reason, all interfaces together.
    pub fn dropped(&self, reason: &str) -> u64 {
        let drops = self.0["drops"].as_array().map(Vec::as_slice).unwrap_or_default();
        let named = drops.iter().filter(|drop| drop["reason"] == reason);
        named.filter_map(|drop| drop["packets"].as_u64()).sum()
    }

    /// A number of `struct xdp_statistics`, all queues of an interface together.
    pub fn xsk(&self, interface: &str, name: &str) -> u64 {
        let queues = self.0["queues"].as_array().map(Vec::as_slice).unwrap_or_default();
        let own = queues.iter().filter(|queue| queue["interface"] == interface);
        own.filter_map(|queue| queue["xsk"][name].as_u64()).sum()
    }

    /// What the kernel had for weir's sockets of an interface and could not give them.
    pub fn missed(&self, interface: &str) -> u64 {
        self.xsk(interface, "rx_dropped") + self.xsk(interface, "rx_ring_full")
    }

    /// An error unless every packet and every frame is accounted for.
    pub fn holds(&self) -> Result<()> {
        let ledger = &self.0["ledger"];
        ensure!(ledger["holds"] == true, "the ledger does not hold: {ledger}");
        ensure!(ledger["packets"]["lost"] == 0 && ledger["frames"]["lost"] == 0, "lost: {ledger}");
        let places = ledger["frames"]["places"].as_object().context("frames are somewhere")?;
        let sum: i64 = places.values().filter_map(Value::as_i64).sum();
        ensure!(ledger["frames"]["total"].as_i64() == Some(sum), "frames do not add up: {ledger}");
        Ok(())
    }

    /// The ledger in a line.
    pub fn line(&self) -> String {
        let ledger = &self.0["ledger"];
        format!("packets {} frames {}", ledger["packets"], ledger["frames"])
    }
}
