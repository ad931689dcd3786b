//! scratch
use std::io::Read;
fn main() {
    let files: Vec<_> = std::env::args()
        .skip(1)
        .map(|name| {
            let mut text = String::new();
            std::fs::File::open(&name).unwrap().read_to_string(&mut text).unwrap();
            inspect::signature::RuleFile { name, text }
        })
        .collect();
    let t = std::time::Instant::now();
    let loaded = inspect::signature::RuleSet::compile(&files, &inspect::signature::Vars::conventional());
    println!("{} loaded, {} refused, {:?}", loaded.rules.len(), loaded.refused.len(), t.elapsed());
    let mut groups = std::collections::BTreeMap::<String, (u32, String)>::new();
    for r in &loaded.refused {
        let e = groups.entry(r.cause.group()).or_default();
        e.0 += 1;
        e.1 = r.to_string();
    }
    for (g, (n, e)) in groups {
        println!("{n:6} {g}: {e}");
    }
    let s = std::fs::read_to_string("/proc/self/status").unwrap();
    for l in s.lines().filter(|l| l.starts_with("VmRSS") || l.starts_with("VmHWM")) {
        println!("{l}");
    }
}
