//! scratch replay
use inspect::flow_key::*;
use inspect::inspector::*;
use inspect::signature::*;
use inspect::stream::*;
use inspect::wire::*;
use std::collections::HashMap;
struct F {
    slot: u32,
    orig: Way,
    tcp: Option<TcpState>,
    both: [bool; 2],
    last: (Vec<u8>, FlowView),
    key: FlowKey,
    est: bool,
}
fn cpu() -> f64 {
    std::fs::read_to_string("/proc/thread-self/schedstat").unwrap().split(' ').next().unwrap().parse::<f64>().unwrap()
        / 1e9
}
fn main() {
    let a: Vec<String> = std::env::args().skip(1).collect();
    let get = |k: &str| a.iter().position(|x| x == k).map(|i| a[i + 1].clone());
    let pcap = a.iter().find(|x| x.ends_with(".pcap")).unwrap();
    let rf = get("--rule-file").unwrap();
    let text = String::from_utf8_lossy(&std::fs::read(&rf).unwrap()).into_owned();
    let mode = if get("--mode").as_deref() == Some("ips") { Mode::Prevent } else { Mode::Detect };
    let midstream = a.iter().any(|x| x == "--midstream");
    let csum = get("--checksum-validation").as_deref() != Some("off");
    let mut loaded = RuleSet::compile(&[RuleFile { name: rf, text }], &Vars::conventional());
    for r in &loaded.refused {
        eprintln!("{r}");
    }
    let rules = std::mem::take(&mut loaded.rules);
    let mut ins = Inspector::new(Settings { mode, midstream, ..Settings::default() });
    let d = std::fs::read(pcap).unwrap();
    let big = d[0] == 0xa1;
    let nano = u32::from_le_bytes(d[0..4].try_into().unwrap()) == 0xa1b23c4d;
    let u = |o: usize| {
        let b: [u8; 4] = d[o..o + 4].try_into().unwrap();
        if big { u32::from_be_bytes(b) } else { u32::from_le_bytes(b) }
    };
    let link = u(20) & 0xffff;
    let mut o = 24;
    let mut flows: HashMap<FlowKey, F> = HashMap::new();
    let mut next = 0u32;
    let mut alerts = vec![];
    let mut eve = String::new();
    let mut n = 0u64;
    let mut bytes = 0u64;
    let mut bad: HashMap<String, u64> = HashMap::new();
    let mut spent = std::time::Duration::ZERO;
    let mut dropped = 0;
    let mut frags = inspect::fragments::FragmentTable::new(inspect::fragments::FragmentLimits::default());
    let quiet = a.iter().any(|x| x == "-q");
    let mut emit = |alerts: &mut Vec<inspect::alert::Alert>, eve: &mut String| {
        for al in alerts.drain(..) {
            let s = rules.signature(al.signature).unwrap();
            eve.push_str(&format!("{{\"event_type\":\"alert\",\"alert\":{{\"signature_id\":{}}}}}\n", s.sid));
        }
    };
    let mut t0: Option<u64> = None;
    let autooff = true;
    let c0 = cpu();
    while o + 16 <= d.len() {
        let (s, f, len) = (u(o) as u64, u(o + 4) as u64, u(o + 8) as usize);
        o += 16;
        if o + len > d.len() {
            break;
        }
        let raw = &d[o..o + len];
        o += len;
        let ms = s * 1000 + if nano { f / 1_000_000 } else { f / 1000 };
        let t = *t0.get_or_insert(ms);
        let now = ms.saturating_sub(t);
        let ether = |ip: &[u8]| {
            let mut v = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
            v.extend(if ip[0] >> 4 == 6 { [0x86, 0xdd] } else { [8, 0] });
            v.extend(ip);
            v
        };
        let mut frame = match link {
            1 => raw.to_vec(),
            101 | 12 | 14 | 228 | 229 => ether(raw),
            0 => ether(&raw[4..]),
            113 => ether(&raw[16..]),
            _ => panic!("link {link}"),
        };
        while frame.len() > 18 && (frame[12..14] == [0x81, 0] || frame[12..14] == [0x88, 0xa8]) {
            frame.drain(12..16);
        }
        if frame.len() > 22 && frame[12..14] == [0x88, 0x64] {
            let ip6 = frame[20..22] == [0, 0x57];
            frame.drain(14..22);
            frame[12..14].copy_from_slice(if ip6 { &[0x86, 0xdd] } else { &[8, 0] });
        }
        if frame[6] & 1 == 1 || frame[6..12] == [0; 6] {
            frame[6] = 2;
        }
        n += 1;
        bytes += frame.len() as u64;
        let check = if csum && !autooff { Checksums::Verify } else { Checksums::Unchecked };
        if frame.len() > 34 && frame[12..14] == [8, 0] {
            for at in [26, 30] {
                if frame[at] == 127 || frame[at] == 0 {
                    frame[at] = 126;
                }
            }
        }
        if frame.len() > 54 && frame[12..14] == [0x86, 0xdd] {
            for at in [22, 38] {
                if frame[at..at + 15] == [0; 15] {
                    frame[at] = 0x20;
                }
            }
        }
        if frame[0..6] == [0; 6] {
            frame[0] = 2;
        }
        if frame.len() > 38 && frame[12..14] == [8, 0] && frame[26..30] == frame[30..34] {
            let p = |a: usize| u16::from_be_bytes([frame[a], frame[a + 1]]);
            let at = if p(34) <= p(36) { 26 } else { 30 };
            frame[at] ^= 2;
        }
        if frame.len() > 58 && frame[12..14] == [0x86, 0xdd] && frame[22..38] == frame[38..54] {
            let p = |a: usize| u16::from_be_bytes([frame[a], frame[a + 1]]);
            let at = if p(54) <= p(56) { 22 } else { 38 };
            frame[at + 1] ^= 1;
        }
        let st = std::time::Instant::now();
        let mut h = match parse(&frame, check) {
            Ok(h) => h,
            Err(e) => {
                *bad.entry(format!("{e:?}")).or_default() += 1;
                continue;
            }
        };
        if h.fragment.is_some() {
            let mut gone = vec![];
            let r = frags.insert(0, &Packet::new(&frame, h), now, &mut gone);
            match r {
                Ok(inspect::fragments::FragmentOutcome::Complete(w)) => {
                    frame = w.frame;
                    h = match parse(&frame, check) {
                        Ok(h) => h,
                        Err(e) => {
                            *bad.entry(format!("{e:?}")).or_default() += 1;
                            continue;
                        }
                    };
                }
                _ => continue,
            }
        }
        let p = Packet::new(&frame, h);
        let Some((key, way)) = FlowKey::of(&p) else {
            *bad.entry("noflow".into()).or_default() += 1;
            continue;
        };
        let tcp = p.tcp();
        let paylen = p.payload().len();
        if let (Some(t), Some(fl)) = (tcp, flows.get(&key)) {
            if t.flags.contains(TcpFlags::SYN) && !t.flags.contains(TcpFlags::ACK) {
                if let Some(ts) = &fl.tcp {
                    if matches!(ts.phase(), TcpPhase::TimeWait | TcpPhase::Reset) {
                        let fl = flows.remove(&key).unwrap();
                        let pk = Packet::parse(&fl.last.0, Checksums::Unchecked);
                        if let Ok(pk) = pk {
                            ins.flow_finished(&rules, &pk, &fl.last.1, now, &mut alerts);
                            emit(&mut alerts, &mut eve);
                        }
                        ins.flow_ended(FlowSlot(fl.slot));
                    }
                }
            }
        }
        let is_new = !flows.contains_key(&key);
        let fl = flows.entry(key).or_insert_with(|| {
            next += 1;
            F {
                slot: next - 1,
                orig: way,
                tcp: None,
                both: [false; 2],
                last: (
                    vec![],
                    FlowView { slot: None, direction: Direction::ToServer, established: false, is_first: false },
                ),
                key,
                est: false,
            }
        });
        if is_new {
            if let Some(t) = &tcp {
                if t.flags.contains(TcpFlags::SYN) && t.flags.contains(TcpFlags::ACK) && midstream {
                    fl.orig = way.reversed();
                }
            }
        }
        let dir = if way == fl.orig { Direction::ToServer } else { Direction::ToClient };
        if let Some(t) = &tcp {
            if let Some(ts) = &mut fl.tcp {
                match ts.on_segment(dir, t, paylen) {
                    Ok(_) => {}
                    Err(e) => {
                        *bad.entry(format!("tcp {e:?}")).or_default() += 1;
                    }
                }
                fl.est = ts.is_established();
            } else if let Ok(ts) = TcpState::open(t, paylen) {
                fl.tcp = Some(ts);
            } else if midstream {
                fl.est = true;
            }
        } else {
            fl.both[(dir == Direction::ToClient) as usize] = true;
            fl.est = fl.both[0] && fl.both[1];
        }
        let view = FlowView { slot: Some(FlowSlot(fl.slot)), direction: dir, established: fl.est, is_first: is_new };
        let v = ins.inspect(&rules, &p, &view, now, &mut alerts);
        spent += st.elapsed();
        if v != inspect::verdict::Verdict::Forward {
            dropped += 1;
            if !quiet {
                *bad.entry(format!("{v:?}")).or_default() += 1;
            }
        }
        if !quiet {
            fl.last = (frame.clone(), view);
        }
        emit(&mut alerts, &mut eve);
        let _ = &fl.key;
    }
    let c1 = cpu() - c0;
    eprintln!("cpu {c1:.3} s, {:.3} Gbit/s", bytes as f64 * 8.0 / c1 / 1e9);
    let mut rest: Vec<_> = flows.into_values().collect();
    rest.sort_by_key(|f| f.slot);
    for fl in rest {
        if let Ok(pk) = Packet::parse(&fl.last.0, Checksums::Unchecked) {
            ins.flow_finished(&rules, &pk, &fl.last.1, u64::MAX / 4, &mut alerts);
            emit(&mut alerts, &mut eve);
        }
        ins.flow_ended(FlowSlot(fl.slot));
    }
    if let Some(e) = get("--eve") {
        std::fs::write(e, &eve).unwrap();
    }
    eprintln!(
        "{n} frames {bytes} bytes {:?} engine {:.3} Gbit/s, {} alerts, {dropped} dropped, bad {bad:?}",
        spent,
        bytes as f64 * 8.0 / spent.as_secs_f64() / 1e9,
        eve.lines().count()
    );
}
