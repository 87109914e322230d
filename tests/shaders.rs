//! Every kernel, composed every way, is valid WGSL without a GPU, and translates for every vendor's driver.

use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ModuleInfo, SubgroupOperationSet, ValidationFlags, Validator};
use tilestream::internals::gpu::kernels::{KernelId, KernelRow, Shape, Tuning};
use tilestream::internals::gpu::tuning::plain_product;

const LANES: &[u32] = &[1, 8, 32];

fn tunings() -> impl Iterator<Item = Tuning> {
    LANES.iter().zip([1, 4, 8]).zip([4, 1, 2]).flat_map(|((lanes, rows), each)| {
        [(true, true), (true, false), (false, false)].map(|(subgroups, loads_64)| Tuning {
            strands: lanes * each,
            lanes: *lanes,
            groups: 32 / lanes,
            wide_lanes: 4 * lanes,
            attention_lanes: 2 * lanes,
            vector_rows: rows,
            matrix_rows: rows,
            subgroups,
            loads_64,
            uniform_inputs: loads_64,
            takes_blocks: loads_64,
            found: Vec::new(),
        })
    })
}

fn asks_f16(tuning: &Tuning) -> bool {
    tuning.found.iter().any(|(_, shape)| shape.f16)
}

/// Parses and validates with no optional capability, except those that the tuning asks for.
fn validate(source: &str, tuning: &Tuning) -> Result<(naga::Module, ModuleInfo), (u32, String)> {
    let module = naga::front::wgsl::parse_str(source).map_err(|error| {
        let line = error.location(source).map_or(0, |location| location.line_number);
        (line, error.emit_to_string(source))
    })?;
    // Every browser has pack2x16float; some old GLES drivers under naga do not.
    let core = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    let of = |wanted, capability| if wanted { capability } else { Capabilities::empty() };
    let optional = of(tuning.subgroups, Capabilities::SUBGROUP)
        | of(tuning.loads_64, Capabilities::SHADER_INT64)
        | of(asks_f16(tuning), Capabilities::SHADER_FLOAT16);
    let mut validator = Validator::new(ValidationFlags::all(), core | optional);
    if tuning.subgroups {
        validator.subgroup_operations(SubgroupOperationSet::all());
        validator.subgroup_stages(naga::valid::ShaderStages::COMPUTE);
    }
    let info = validator.validate(&module).map_err(|error| {
        let line = error.location(source).map_or(0, |location| location.line_number);
        (line, error.emit_to_string(source))
    })?;
    Ok((module, info))
}

fn rows() -> Vec<(KernelId, Tuning, KernelRow)> {
    let mut rows = Vec::new();
    for tuning in tunings() {
        for id in KernelId::all() {
            let native = tuning.with(id, Shape { f16: true, ..tuning.shape(id) });
            let tunings = match id {
                KernelId::CompareHalves => vec![native],
                // Of the smallest tuning what there is once more for shader-f16.
                _ if tuning.lanes == 1 => vec![tuning.clone(), native],
                _ => vec![tuning.clone()],
            };
            for tuning in tunings {
                let row = id.row(&tuning).expect("every part is there");
                rows.push((id, tuning, row));
            }
        }
    }
    rows
}

#[test]
fn every_kernel_is_valid_and_translates_to_spirv_msl_and_hlsl() {
    for (id, tuning, row) in rows() {
        let (module, info) = validate(&row.composed.source, &tuning)
            .unwrap_or_else(|(line, error)| panic!("{id:?} {}: {error}", row.composed.place(line)));
        assert!(module.entry_points.iter().any(|entry| entry.name == row.entry), "{id:?} has its entry point");
        let options = spv::Options { lang_version: (1, 3), ..Default::default() };
        let entry = spv::PipelineOptions { shader_stage: naga::ShaderStage::Compute, entry_point: row.entry.into() };
        spv::write_vec(&module, &info, &options, Some(&entry)).unwrap_or_else(|error| panic!("{id:?} SPIR-V: {error}"));
        let options = msl::Options { lang_version: (2, 4), fake_missing_bindings: true, ..Default::default() };
        msl::write_string(&module, &info, &options, &msl::PipelineOptions::default())
            .unwrap_or_else(|error| panic!("{id:?} MSL: {error}"));
        // Numbers of 16 bits came with 6.2.
        let shader_model = if asks_f16(&tuning) { hlsl::ShaderModel::V6_2 } else { hlsl::ShaderModel::V6_0 };
        let options = hlsl::Options { shader_model, fake_missing_bindings: true, ..Default::default() };
        let pipeline = hlsl::PipelineOptions::default();
        let mut text = String::new();
        hlsl::Writer::new(&mut text, &options, &pipeline)
            .write(&module, &info, None)
            .unwrap_or_else(|error| panic!("{id:?} HLSL: {error}"));
        assert!(text.contains("RWByteAddressBuffer"), "{id:?} writes somewhere");
    }
}

#[test]
fn a_kernel_stays_within_the_smallest_limits() {
    for (id, tuning, row) in rows() {
        let (module, _) = validate(&row.composed.source, &tuning).expect("valid");
        let storage = module
            .global_variables
            .iter()
            .filter(|(_, variable)| matches!(variable.space, naga::AddressSpace::Storage { .. }));
        assert!(storage.count() <= 8, "{id:?} binds more than 8 storage buffers");
        let layouter = {
            let mut layouter = naga::proc::Layouter::default();
            layouter.update(module.to_ctx()).expect("sizes");
            layouter
        };
        let shared: u32 = module
            .global_variables
            .iter()
            .filter(|(_, variable)| variable.space == naga::AddressSpace::WorkGroup)
            .map(|(_, variable)| layouter[variable.ty].size)
            .sum();
        assert!(shared <= 16 * 1024, "{id:?} takes {shared} bytes of workgroup memory");
        for entry in &module.entry_points {
            assert!(entry.workgroup_size.iter().product::<u32>() <= 256, "{id:?}");
        }
    }
}

#[test]
fn a_broken_shader_is_named_by_file_and_line() {
    let tuning = tunings().next().expect("one");
    let row = plain_product(tilestream::internals::encoding::Encoding::Q4_1, 1).row(&tuning).expect("composes");
    let broken = row.composed.source.replacen("unpack2x16float(weights1[(row", "unpack2x16fload(weights1[(row", 1);
    let (line, _) = validate(&broken, &tuning).expect_err("an unknown function");
    let place = row.composed.place(line);
    let file = "shaders/encoding/q4_1.wgsl";
    assert!(place.starts_with(file), "{place}");
    let number: usize = place.rsplit(':').next().expect("a line").parse().expect("a number");
    let text = std::fs::read_to_string(file).expect("the file");
    assert!(text.lines().nth(number - 1).expect("the line").contains("unpack2x16float"), "{place}");
}
