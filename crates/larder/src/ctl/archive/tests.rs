use larder_protocol::Marks;
use larder_store::Item;
use tempfile::TempDir;

use super::*;

const CLUSTER: u64 = 0x0102_0304_0506_0708;
const BACKUP: u64 = 0x1112_1314_1516_1718;

fn item(key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let marks = Marks::default();
    let item = Item { key, value: b"v", client_flags: 0, exptime: 0, cas: 1, last_write: 2, marks };
    item.put(&mut bytes).unwrap();
    bytes
}

/// A backup of two groups, of which one has two blocks and the other none.
fn write(path: &Path) {
    make(path).unwrap();
    let file = |group| Writer::create(&path.join(name(group)), CLUSTER, BACKUP, group).unwrap();
    let mut first = file(1);
    assert_eq!(first.block(&[item(b"a"), item(b"b")].concat()).unwrap(), 2);
    assert_eq!(first.block(&item(b"c")).unwrap(), 1);
    let groups = vec![first.finish().unwrap(), file(2).finish().unwrap()];
    let manifest = Manifest {
        cluster: "a\\nb".to_owned(),
        cluster_id: CLUSTER,
        backup: BACKUP,
        taken: 1_700_000_000,
        groups,
    };
    finish(path, &manifest).unwrap();
}

/// All blocks, or what is wrong.
fn read(path: &Path) -> Result<Vec<Vec<u8>>, String> {
    let archive = Archive::open(path).map_err(|why| why.to_string())?;
    let mut blocks = Vec::new();
    for entry in &archive.manifest.groups {
        let mut reader = archive.read(entry).map_err(|why| why.to_string())?;
        while let Some((items, _)) = reader.block().map_err(|why| why.to_string())? {
            blocks.push(items);
        }
    }
    Ok(blocks)
}

#[test]
fn these_are_the_bytes() {
    let place = TempDir::new().unwrap();
    let path = place.path().join("backup");
    write(&path);
    assert_eq!(read(&path).unwrap(), [[item(b"a"), item(b"b")].concat(), item(b"c")]);
    let first = fs::read(path.join("group-1")).unwrap();
    let head = b"LARDERB\x01\x08\x07\x06\x05\x04\x03\x02\x01\x18\x17\x16\x15\x14\x13\x12\x11\x01\0\0\0\0\0\0\0";
    assert_eq!(first[..32], *head);
    assert_eq!(first.len(), 40 + 16 + 40 + 16 + 20 + 16);
    assert_eq!(first[40..48], *b"\x28\0\0\0\x02\0\0\0");
    assert_eq!(first[56..76], item(b"a"));
    assert_eq!(first[132..140], [0; 8]);
    let manifest = fs::read_to_string(path.join("MANIFEST")).unwrap();
    let expected = "\
larder backup 1
cluster 0102030405060708 a\\nb
backup 1112131415161718
taken 1700000000
group 1 items 3 bytes 148 xxh3 1104d264ffc34ee5
group 2 items 0 bytes 56 xxh3 2c220c59fe86e2cc
xxh3 eb385aa4e2db774c
";
    assert_eq!(manifest, expected);
}

/// Each byte of each file counts, and whatever is wrong is named.
#[test]
fn a_bit_that_is_flipped_and_a_file_that_is_cut_off_are_found_and_named() {
    let place = TempDir::new().unwrap();
    let path = place.path().join("backup");
    write(&path);
    for name in ["MANIFEST", "group-1", "group-2"] {
        let file = path.join(name);
        let whole = fs::read(&file).unwrap();
        let assert_refused = |bytes: &[u8], what: &str| {
            fs::write(&file, bytes).unwrap();
            let why = read(&path).expect_err(what);
            assert!(why.contains(&*file.to_string_lossy()), "{what}: {why}");
            assert!(why.contains(" is damaged at offset "), "{what}: {why}");
        };
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_refused(&flipped, &format!("bit {bit} of {name}"));
        }
        for len in 0..whole.len() {
            assert_refused(&whole[..len], &format!("{name} of {len} bytes"));
        }
        assert_refused(&[&whole[..], b"\n"].concat(), "one more");
        fs::write(&file, whole).unwrap();
    }
    let swapped = fs::read(path.join("group-1")).unwrap();
    fs::write(path.join("group-2"), swapped).unwrap();
    assert!(read(&path).unwrap_err().contains("group-2 is damaged at offset 0"));
}

#[test]
fn where_it_is_damaged_is_said() {
    let place = TempDir::new().unwrap();
    let path = place.path().join("backup");
    write(&path);
    let file = path.join("group-1");
    let mut bytes = fs::read(&file).unwrap();
    bytes[115] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let why = read(&path).unwrap_err();
    assert!(why.contains("group-1 is damaged at offset 96: the checksum"), "{why}");
    bytes.truncate(60);
    fs::write(&file, &bytes).unwrap();
    assert!(read(&path).unwrap_err().contains("offset 40: it breaks off"));
}

#[test]
fn what_is_there_is_not_overwritten_and_what_did_not_end_is_no_backup() {
    let place = TempDir::new().unwrap();
    let path = place.path().join("backup");
    make(&path).unwrap();
    Writer::create(&path.join("group-1"), CLUSTER, BACKUP, 1).unwrap();
    assert!(read(&path).unwrap_err().contains("did not end"));
    assert!(make(&path).unwrap_err().to_string().contains("is not empty"));
    fs::remove_dir_all(&path).unwrap();
    fs::write(&path, "a file").unwrap();
    make(&path).unwrap_err();
    assert!(read(&place.path().join("none")).unwrap_err().contains("none/MANIFEST"));
}
