//! `stats cluster`.

use std::fmt::Display;

use crate::counters::Counters;
use crate::hints::Hints;
use crate::membership::{Membership, PeerReport, PeerState};
use crate::near::Near;

/// Tells who is of the cluster, which part of the keys each has, and what nodes do for each other.
pub(crate) fn tell(
    membership: &Membership,
    counters: &Counters,
    hints: &Hints,
    near: &Near,
    emit: &mut dyn FnMut(&str, &str),
) {
    let mut stat = |name: &str, value: &dyn Display| emit(name, &value.to_string());
    let (view, peers) = (membership.view(), membership.peers());
    stat("version", &view.version);
    stat("members", &view.members.len());
    // What an operator would else have to guess.
    stat("stats_cover", &"this node");
    stat("flush_all_covers", &"all members");
    let Counters {
        forwarded,
        stood_in,
        near: copied,
        failed,
        answered,
        calls,
        fetched,
        hinted,
        given_up,
        lost,
    } = counters;
    stat("forwarded", &forwarded.get());
    stat("stood_in", &stood_in.get());
    stat("hot_hits", &copied.get());
    let (keys, bytes) = near.count();
    stat("hot_keys", &keys);
    stat("hot_bytes", &bytes);
    stat("not_done", &failed.get());
    stat("answered", &answered.get());
    stat("answered_calls", &calls.get());
    stat("found_silent", &lost.get());
    stat("fetched", &fetched.get());
    stat("given_up", &given_up.get());
    stat("hints_told", &hinted.get());
    let (keys, all) = hints.count();
    stat("hints_owed", &keys);
    stat("hints_owed_all", &all);
    for (number, PeerReport { member, state, round_trip, connected }) in peers.iter().enumerate() {
        let mut stat = |name: &str, value: &dyn Display| stat(&format!("{number}:{name}"), value);
        stat("name", &member.name);
        let (word, lost) = match state {
            PeerState::Here => ("here", None),
            PeerState::Coming => ("coming", None),
            PeerState::Serving => ("serving", None),
            PeerState::Leaving => ("leaving", None),
            PeerState::Suspect => ("suspect", None),
            PeerState::Lost { since } => ("lost", Some(since)),
        };
        stat("state", &word);
        if let Some(since) = lost {
            stat("lost_seconds", &since.as_secs());
        }
        stat("client_address", &member.client_address);
        stat("peer_address", &member.peer_address);
        stat("weight", &member.weight);
        if !member.zone.is_empty() {
            stat("zone", &member.zone);
        }
        let place = view.members.iter().position(|other| other.name == member.name);
        let share = place.map_or(0.0, |place| view.share(place));
        stat("keys_percent", &format!("{:.2}", share * 100.0));
        if *state != PeerState::Here {
            stat("connected", &if *connected { "yes" } else { "no" });
        }
        if let Some(round_trip) = round_trip {
            stat("round_trip_us", &round_trip.as_micros());
        }
    }
    for (number, seed) in membership.silent_seeds().iter().enumerate() {
        let mut stat = |name: &str, value: &dyn Display| {
            stat(&format!("seed{number}:{name}"), value);
        };
        stat("address", &seed.address);
        stat("silent_seconds", &seed.since.as_secs());
        stat("why", &seed.why);
    }
}
