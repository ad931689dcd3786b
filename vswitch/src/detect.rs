//! What the configuration wants done about scans, sweeps, floods and bursts. What they are is in [`inspect::detect`]; where
//! frames are shown to it is in [`crate::pipeline`].

use std::collections::BTreeMap;
use std::sync::Arc;

use inspect::detect::{AnomalyKind, AnomalySet, Detectors, Threshold, ThresholdError, Thresholds, Watching};

use crate::counters::PORTS_MAX;
use crate::frame::PortId;

/// What is done when a threshold is exceeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Response {
    /// It is told.
    #[default]
    Alert,
    /// It is told, and the frames that are part of it are dropped.
    Drop,
    /// It is told, the frames that are part of it are dropped, and the port is in quarantine for a time.
    Quarantine {
        /// The time in milliseconds.
        ms: u64,
    },
}

impl Response {
    /// The word used in the configuration and in EVE.
    pub fn word(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Drop => "drop",
            Self::Quarantine { .. } => "quarantine",
        }
    }

    /// What is done at an uplink: whoever is out there could otherwise cut everybody in here off from the world.
    fn at_uplink(self) -> Self {
        match self {
            Self::Quarantine { .. } => Self::Drop,
            Self::Alert | Self::Drop => self,
        }
    }
}

/// What is watched for, and what is done about it, as configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DetectConfig {
    /// What is watched for.
    pub kinds: BTreeMap<AnomalyKind, (Threshold, Response)>,
    /// Ports that are not watched.
    pub exempt: Vec<PortId>,
}

/// The watch of one generation; what was seen is shared with the generations before and after it.
#[derive(Debug)]
pub struct Detect {
    thresholds: Thresholds,
    responses: [Response; AnomalyKind::ALL.len()],
    stopped: AnomalySet,
    is_watched: Box<[bool]>,
    detectors: Arc<Detectors>,
}

impl Detect {
    /// A watch by a configuration, which counts in `detectors`.
    ///
    /// # Errors
    /// When a threshold cannot be kept.
    pub fn new(config: &DetectConfig, detectors: Arc<Detectors>) -> Result<Self, ThresholdError> {
        let thresholds = config.kinds.iter().map(|(kind, (threshold, _))| (*kind, *threshold)).collect();
        let mut responses = [Response::Alert; AnomalyKind::ALL.len()];
        let mut stopped = AnomalySet::default();
        for (kind, (_, response)) in &config.kinds {
            responses[*kind as usize] = *response;
            if *response != Response::Alert {
                stopped.insert(*kind);
            }
        }
        let is_watched = (0..PORTS_MAX as u16).map(|port| !config.exempt.contains(&PortId(port))).collect();
        Ok(Self { thresholds: Thresholds::new(&thresholds)?, responses, stopped, is_watched, detectors })
    }

    /// The watch over a port; `None` for one that is exempt.
    #[inline]
    pub fn watching(&self, port: PortId, now_ms: u64) -> Option<Watching<'_>> {
        let is_watched = *self.is_watched.get(port.index())?;
        if is_watched { self.detectors.watching(&self.thresholds, u32::from(port.0), now_ms) } else { None }
    }

    /// What is done about an anomaly that comes by a guest's port, or by an uplink.
    pub fn response(&self, kind: AnomalyKind, is_uplink: bool) -> Response {
        let response = self.responses[kind as usize];
        if is_uplink { response.at_uplink() } else { response }
    }

    /// The kinds whose frames are dropped.
    pub fn stopped(&self) -> AnomalySet {
        self.stopped
    }

    /// What was seen.
    pub fn detectors(&self) -> &Detectors {
        &self.detectors
    }
}
