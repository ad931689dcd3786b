//! Lists of hashes of files: found, read line by line, and each line that is not understood named.

use super::signatures::find;
use super::{Context, Once};
use crate::config::file::{FileHashAction, FileHashes, FileLimitsFile, FilePolicy, Inspection};
use crate::config::resolved::HashListCount;
use crate::hash_lines::{self, FAULTS_TOLD_MAX};
use inspect::file_hashes::{FileChecks, FileLimits, HashList, HashListBuilder, ListAction, SIZE_MAX_DEFAULT, Unjudged};
use inspect::limits::HASHES_MAX;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

/// Lists of one configuration at most: each is a label of metrics.
const LISTS_MAX: usize = 64;
/// Files of one list at most.
const FILES_MAX: usize = 256;
/// A megabyte is less than many programs have; beyond a terabyte nothing is limited.
const SIZE_MAX_MIB: RangeInclusive<u64> = 1..=1 << 20;

/// What files are judged by; nothing without a list.
pub(super) fn load(inspection: &Inspection, base_dir: &Path, context: &mut Context<'_>) -> Option<Arc<FileChecks>> {
    let limits = limits(&inspection.file_limits, context);
    let mut once = Once::new();
    let mut room = HASHES_MAX;
    let mut lists = Vec::new();
    for list in &inspection.file_hashes {
        context.check_name("list of hashes", &list.name);
        if let Some(first) = once.note(list.name.as_str(), &list.name.at) {
            let message = format!("there are two lists of hashes \"{}\"", list.name.value);
            context.error_with_first(&list.name.at, &first, message);
        }
        if lists.len() == LISTS_MAX {
            context.error_at(&list.at, format!("more than {LISTS_MAX} lists of hashes"));
            break;
        }
        let read = read_list(list, base_dir, room, context);
        room = room.saturating_sub(read.len());
        lists.push(read);
    }
    (!lists.is_empty()).then(|| Arc::new(FileChecks::new(lists, limits)))
}

/// What there is to count in the lists.
pub(super) fn counts(checks: Option<&FileChecks>) -> Vec<HashListCount> {
    let count = |list: &Arc<HashList>| HashListCount {
        name: list.name().to_owned(),
        hashes: list.len(),
        bytes: list.byte_count(),
    };
    checks.map(|checks| checks.lists().iter().map(count).collect()).unwrap_or_default()
}

fn limits(file: &FileLimitsFile, context: &mut Context<'_>) -> FileLimits {
    let policy = |policy| match policy {
        FilePolicy::Pass => Unjudged::Pass,
        FilePolicy::Drop => Unjudged::Drop,
    };
    let size_max = match &file.size_max_mib {
        None => SIZE_MAX_DEFAULT,
        Some(mib) => {
            context.check_range("size_max_mib", mib, mib.value, &SIZE_MAX_MIB, |number| number.to_string()) << 20
        }
    };
    FileLimits { size_max, too_big: policy(file.too_big), partial: policy(file.partial) }
}

fn read_list(list: &FileHashes, base_dir: &Path, room: usize, context: &mut Context<'_>) -> HashList {
    let action = match list.action {
        FileHashAction::Alert => ListAction::Alert,
        FileHashAction::Drop => ListAction::Drop,
    };
    let mut builder = HashListBuilder::new(list.name.as_str(), action).with_room(room);
    let paths = find(&list.path, base_dir, "no hashes come from it", context);
    if paths.len() > FILES_MAX {
        context.error_at(&list.path.at, format!("`{}` stands for more than {FILES_MAX} files", list.path.value));
        return builder.build();
    }
    for path in paths {
        let name = path.display().to_string();
        let mut faults = Vec::new();
        let read = hash_lines::read_file(&path, &mut builder, &mut faults);
        for (line, fault) in faults.iter().take(FAULTS_TOLD_MAX) {
            context.error_at(&list.path.at, format!("`{name}`, line {line}: {fault}"));
        }
        if faults.len() > FAULTS_TOLD_MAX {
            context.error_at(&list.path.at, format!("`{name}`: further lines are not understood either"));
        }
        if let Err(error) = read {
            context.error_at(&list.path.at, format!("cannot read the list of hashes `{name}`: {error}"));
        }
    }
    let list_of = builder.build();
    if list_of.is_empty() && !context.report.has_errors() {
        context.warning_at(&list.path.at, format!("the list of hashes \"{}\" is empty", list.name.value));
    }
    list_of
}
