//! Builds images of binaries that are compiled already, and loads them into the cluster.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use local_mongodb::Engine;
use manifest_tests::PROGRAMS;

use crate::narration::{say, seconds};
use crate::programs::Program;
use crate::settings::Settings;

pub(crate) const REGISTRY: &str = "localhost";
pub(crate) const REPOSITORY: &str = "microblog";
pub(crate) const TAG: &str = "test";
/// The same programs under another tag, so that `helm upgrade` takes them for a new version.
pub(crate) const NEXT_TAG: &str = "test-next";
const DATABASE: &str = "test-mongodb";
const INITIATE: &str = "initiate-stand-in";
const DATABASE_DOCKERFILE: &str = include_str!("../test-mongodb.Dockerfile");

fn name(program: &str, tag: &str) -> String {
    format!("{REGISTRY}/{REPOSITORY}/{program}:{tag}")
}

/// Builds all images with `make images`, and loads them into the cluster.
pub(crate) async fn build_and_load(settings: &Settings) -> Result<()> {
    let begun = Instant::now();
    let tool = tool(settings).await?;
    let directory = tempfile::tempdir()?;
    strip_all(settings, directory.path()).await?;
    let flags = format!(
        "{} --build-context programs={}",
        settings.image_flags,
        directory.path().display()
    );
    let make = Program::new("make").args(["--no-print-directory", "images"]).args([
        format!("--directory={}", settings.repository.display()),
        format!("IMAGE_TOOL={tool}"),
        format!("IMAGE_PREFIX={REGISTRY}/{REPOSITORY}"),
        format!("IMAGE_TAG={TAG}"),
        format!("IMAGE_FLAGS={}", flags.trim()),
    ]);
    make.run().await?;
    for program in PROGRAMS {
        let tag = Program::new(&tool).arg("tag").arg(name(program, TAG));
        tag.arg(name(program, NEXT_TAG)).run().await?;
    }
    if settings.mongodb_image.is_none() {
        build_database(settings, &tool).await?;
    }
    say(format_args!(
        "built the images with {tool} in {}",
        seconds(begun.elapsed())
    ));

    let Some(load) = &settings.load_image else {
        say("LOAD_IMAGE is not set, so the cluster must find the images by itself");
        return Ok(());
    };
    let begun = Instant::now();
    for image in all(settings) {
        Program::of_words(load)?.arg(image).run().await?;
    }
    say(format_args!(
        "loaded the images into the cluster in {}",
        seconds(begun.elapsed())
    ));
    Ok(())
}

fn all(settings: &Settings) -> Vec<String> {
    let both = |program: &&str| [name(program, TAG), name(program, NEXT_TAG)];
    let mut all: Vec<String> = PROGRAMS.iter().flat_map(both).collect();
    if settings.mongodb_image.is_none() {
        all.push(name(DATABASE, TAG));
    }
    all
}

/// Unoptimised programs have more symbols than code. A cluster does not need the symbols.
async fn strip_all(settings: &Settings, into: &Path) -> Result<()> {
    let from = binaries(settings);
    for program in PROGRAMS {
        let binary = from.join(program);
        ensure!(
            binary.is_file(),
            "{} does not exist: please build the programs first",
            binary.display()
        );
        let strip = Program::new("strip").args(["--strip-all", "-o"]);
        let strip = strip.arg(into.join(program).display().to_string());
        strip.arg(binary.display().to_string()).run().await?;
    }
    Ok(())
}

/// The directory with the compiled programs.
pub(crate) fn binaries(settings: &Settings) -> PathBuf {
    let default = || {
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| settings.repository.join("target"), PathBuf::from);
        target.join("debug")
    };
    settings.binaries.clone().unwrap_or_else(default)
}

/// Builds an image of the stand-in for MongoDB. The image never leaves this machine and its cluster.
async fn build_database(settings: &Settings, tool: &str) -> Result<()> {
    let engine = tokio::task::spawn_blocking(Engine::find).await??;
    let Engine::StandIn(program) = engine else {
        bail!(
            "no image can be built of {}, which is not the stand-in: please set MONGODB_IMAGE",
            engine.description()
        );
    };
    let context = tempfile::tempdir()?;
    // The program that creates the users of the database was built together with this one.
    let initiate = std::env::current_exe()?.with_file_name(INITIATE);
    for (from, name) in [(program, "secantusd-rs"), (initiate, INITIATE)] {
        fs::copy(&from, context.path().join(name)).with_context(|| from.display().to_string())?;
    }
    fs::write(context.path().join("Dockerfile"), DATABASE_DOCKERFILE)?;
    let build = Program::new(tool).args(["build", "--tag", &name(DATABASE, TAG)]);
    let build = build.args(settings.image_flags.split_whitespace());
    build.arg(context.path().display().to_string()).run().await.map(drop)
}

async fn tool(settings: &Settings) -> Result<String> {
    if let Some(tool) = &settings.image_tool {
        return Ok(tool.clone());
    }
    for tool in ["docker", "podman", "buildah"] {
        if Program::new(tool).arg("--version").run().await.is_ok() {
            return Ok(tool.to_owned());
        }
    }
    bail!("found no docker, podman or buildah to build images with")
}
