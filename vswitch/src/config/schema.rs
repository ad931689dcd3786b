//! The JSON schema of the configuration file, for editors and for tools that write configurations.

use super::file::File;
use schemars::generate::SchemaSettings;

/// The schema as it is kept in `configs/vswitch.schema.json` (JSON Schema, draft 2020-12).
pub fn text() -> String {
    let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<File>();
    // Made of strings and numbers only.
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}
