//! How long things take, and why so long.
//!
//! A member that answers nothing is probed by one of the others within [`PROBE_PERIOD`] on average, is
//! suspected at the end of that probe, and is lost after [`suspicion`]: among five within 1.5 seconds
//! in the median and 2.3 at most, of 300 in the simulation. One that stands still for less than a
//! period is not even suspected. Who is suspected wrongly has the suspicion's time to say no: in the
//! simulation that does for who stands still for 1.2 seconds, and not for 1.3. It costs each node some
//! 9 messages a second, of 150 bytes among five and 650 among a hundred. Periods of twice that length
//! were tried: 1.9 seconds in the median and 3.5 at most.

use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use foca::{Config, PeriodicParams};

/// How often each node probes another. Each is asked once in a round, so a cluster of any size has
/// every member probed four times a second on average.
const PROBE_PERIOD: Duration = Duration::from_millis(250);

/// How long an answer may take before others are asked to try, which must be through by the end of the
/// period. Many times what a network in one place needs.
const PROBE_RTT: Duration = Duration::from_millis(100);

/// How long a suspect may defend itself, among few.
const SUSPICION: Duration = Duration::from_secs(1);

/// How often who is suspected is told so by who suspects it.
pub(super) const ASK_SUSPECT: Duration = PROBE_PERIOD;

/// How many others are asked.
const INDIRECT_PROBES: NonZeroUsize = NonZeroUsize::new(3).unwrap();

/// How often news is told, and to how many: all of a hundred have heard it after four or five times.
const GOSSIP: (Duration, NonZeroUsize) =
    (Duration::from_millis(200), NonZeroUsize::new(3).unwrap());

/// How often each node tells the same news: memberlist's 4 × log10(members + 1) is 8 for a hundred.
const MAX_TRANSMISSIONS: NonZeroU8 = NonZeroU8::new(10).unwrap();

/// How often another is asked for all that it knows, so that what was missed is not missed for long.
const ANNOUNCE: Duration = Duration::from_secs(2);

/// How long those that are lost are remembered, and called: a partition may last so long.
const REMEMBER: Duration = Duration::from_hours(1);

/// The longest message: all of a hundred members with long names.
const MAX_PACKET: NonZeroUsize = NonZeroUsize::new(64 << 10).unwrap();

/// How often the lost are called, and how many.
pub(super) const CALL_THE_LOST: (Duration, usize) = (Duration::from_secs(1), 3);

/// How often a name that is taken is asked for again.
pub(super) const TAKEN: Duration = Duration::from_secs(1);

/// How long a node stands back for another of its name that nobody speaks of any more.
pub(super) const STAND_BACK: Duration = Duration::from_secs(10);

/// How long a node stays who it is when told again that it is lost: all who think so say it at once.
pub(super) const RENEW: Duration = Duration::from_millis(500);

/// How often one who does not listen is asked why.
pub(super) const ASK_WHY: Duration = Duration::from_secs(1);

/// How long a suspect of so many members may defend itself: the suspicion has to reach it, and its
/// answer all others, which takes longer the more there are.
fn suspicion(members: usize) -> Duration {
    SUSPICION * (1 + members.max(4).ilog2() / 2).max(2) / 2
}

/// What foca runs on, among so many members.
pub(super) fn config(members: usize) -> Config {
    let (frequency, num_members) = GOSSIP;
    Config {
        probe_period: PROBE_PERIOD,
        probe_rtt: PROBE_RTT,
        num_indirect_probes: INDIRECT_PROBES,
        max_transmissions: MAX_TRANSMISSIONS,
        suspect_to_down_after: suspicion(members),
        remove_down_after: Some(REMEMBER),
        max_packet_size: MAX_PACKET,
        notify_down_members: true,
        periodic_announce: Some(PeriodicParams {
            frequency: ANNOUNCE,
            num_members: NonZeroUsize::MIN,
        }),
        // Foca stops that when it has lost all others, which is when it matters most.
        periodic_announce_to_down_members: None,
        periodic_gossip: Some(PeriodicParams { frequency, num_members }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_members_the_longer_may_a_suspect_defend_itself() {
        let times: Vec<_> = [0, 2, 5, 15, 16, 63, 64, 100].into_iter().map(suspicion).collect();
        assert_eq!(
            times,
            [1000, 1000, 1000, 1000, 1500, 1500, 2000, 2000].map(Duration::from_millis)
        );
    }
}
