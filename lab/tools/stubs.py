"""
Empty shared libraries in place of ones that a program links but never calls.

PyTorch's wheel links 2.7 GB of CUDA libraries that a machine without a GPU has no use for; the loader only wants files
with the right names, symbols and symbol versions. ``fill_missing`` reads what the libraries of one folder ask for and
writes those files, each a few KB, without a compiler. x86-64 Linux only.

Source of the layout: System V ABI, chapters 4 and 5; symbol versions: Linux Standard Base Core 3.1, section 10.7.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

PAGE = 0x1000
# mov eax, 100; ret: "no device" in CUDA's numbering, a failure in that of the libraries above it.
NO_DEVICE = bytes.fromhex("b864000000c3")

PT_LOAD, PT_DYNAMIC, PT_GNU_STACK = 1, 2, 0x6474E551
READ, READ_EXECUTE, READ_WRITE = 4, 5, 6
DT_NEEDED, DT_HASH, DT_STRTAB, DT_SYMTAB, DT_STRSZ, DT_SYMENT, DT_SONAME = 1, 4, 5, 6, 10, 11, 14
DT_VERSYM, DT_VERDEF, DT_VERDEFNUM = 0x6FFFFFF0, 0x6FFFFFFC, 0x6FFFFFFD
DT_VERNEED, DT_VERNEEDNUM = 0x6FFFFFFE, 0x6FFFFFFF
SHN_UNDEF, STB_GLOBAL, STT_FUNC, SHT_DYNSYM = 0, 1, 2, 11


@dataclass(frozen=True)
class Symbol:
    """A name that a library asks for; *library* and *version* are empty where it does not say from whom."""

    name: str
    library: str = ""
    version: str = ""


@dataclass(frozen=True)
class Library:
    """The dynamic linking side of one shared library."""

    soname: str
    needed: tuple[str, ...]
    defined: frozenset[str]
    wanted: frozenset[Symbol]


def read(path: Path) -> Library:
    """What the 64-bit ELF library at *path* defines and wants; weak wishes, which may stay unmet, left out."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _read(data, path.name)


def _read(data: mmap.mmap, name: str) -> Library:
    section_offset, _, _, _, _, section_size, section_count = struct.unpack_from("<QIHHHHH", data, 0x28)
    segment_offset, segment_count = struct.unpack_from("<Q", data, 0x20)[0], struct.unpack_from("<H", data, 0x38)[0]
    segments = [struct.unpack_from("<IIQQQQQQ", data, segment_offset + 56 * i) for i in range(segment_count)]

    def at(address: int) -> int:
        for kind, _, offset, start, _, length, _, _ in segments:
            if kind == PT_LOAD and start <= address < start + length:
                return int(offset + address - start)
        raise ValueError(f"{name}: address {address:#x} lies in no segment")

    dynamic: dict[int, int] = {}
    needed_at: list[int] = []
    for kind, _, offset, _, _, length, _, _ in segments:
        if kind != PT_DYNAMIC:
            continue
        for tag, value in struct.iter_unpack("<QQ", data[offset : offset + length]):
            if tag == DT_NEEDED:
                needed_at.append(value)
            dynamic.setdefault(tag, value)
    strings = at(dynamic[DT_STRTAB])

    def text(offset: int) -> str:
        return data[strings + offset : data.find(b"\0", strings + offset)].decode()

    versions: dict[int, tuple[str, str]] = {}
    if DT_VERNEED in dynamic:
        entry = at(dynamic[DT_VERNEED])
        for _ in range(dynamic[DT_VERNEEDNUM]):
            _, count, file_name, first, following = struct.unpack_from("<HHIII", data, entry)
            item = entry + first
            for _ in range(count):
                _, _, index, version, step = struct.unpack_from("<IHHII", data, item)
                versions[index] = (text(file_name), text(version))
                item += step
            entry += following

    sections = [
        struct.unpack_from("<IIQQQQIIQQ", data, section_offset + section_size * i) for i in range(section_count)
    ]
    symbol_bytes = next(section[5] for section in sections if section[1] == SHT_DYNSYM)
    symbols = at(dynamic[DT_SYMTAB])
    defined: set[str] = set()
    wanted: set[Symbol] = set()
    for index in range(1, symbol_bytes // 24):
        label, info, _, place = struct.unpack_from("<IBBH", data, symbols + 24 * index)
        if place != SHN_UNDEF:
            defined.add(text(label))
        elif info >> 4 == STB_GLOBAL:
            number = (
                struct.unpack_from("<H", data, at(dynamic[DT_VERSYM]) + 2 * index)[0] if DT_VERSYM in dynamic else 1
            )
            wanted.add(Symbol(text(label), *versions.get(number & 0x7FFF, ("", ""))))
    soname = text(dynamic[DT_SONAME]) if DT_SONAME in dynamic else name
    return Library(soname, tuple(map(text, needed_at)), frozenset(defined), frozenset(wanted))


def _hash(name: str) -> int:
    value = 0
    for byte in name.encode():
        value = (value << 4) + byte
        high = value & 0xF0000000
        value = (value ^ (high >> 24)) & ~high
    return value & 0xFFFFFFFF


def write(path: Path, soname: str, symbols: set[Symbol]) -> None:
    """A shared library *soname* at *path* whose every function, at its version, answers "no device"."""
    ordered = sorted(symbols, key=lambda symbol: (symbol.name, symbol.version))
    labels = sorted({symbol.version for symbol in ordered} - {""})
    strings = bytearray(b"\0")
    seen: dict[str, int] = {}

    def string(value: str) -> int:
        if value not in seen:
            seen[value] = len(strings)
            strings.extend(value.encode() + b"\0")
        return seen[value]

    own_name = string(soname)
    table = bytearray(24)
    numbers = bytearray(2)
    for symbol in ordered:
        table += struct.pack("<IBBHQQ", string(symbol.name), STB_GLOBAL << 4 | STT_FUNC, 0, 1, PAGE, len(NO_DEVICE))
        # Number 1 is the library itself and means "no version" for a symbol.
        numbers += struct.pack("<H", labels.index(symbol.version) + 2 if symbol.version else 1)
    versions = bytearray()
    for number, label in enumerate([soname, *labels], start=1):
        flags, following = number == 1, 28 if number <= len(labels) else 0
        versions += struct.pack("<HHHHIII", 1, flags, number, 1, _hash(label), 20, following)
        versions += struct.pack("<II", string(label), 0)

    buckets, chain = [0] * (len(ordered) or 1), [0] * (len(ordered) + 1)
    for index, symbol in enumerate(ordered, start=1):
        bucket = _hash(symbol.name) % len(buckets)
        chain[index], buckets[bucket] = buckets[bucket], index
    lookup = struct.pack(f"<II{len(buckets)}I{len(chain)}I", len(buckets), len(chain), *buckets, *chain)

    # File and memory are alike: header, code, tables (any length), dynamic section, each from a page of its own.
    tables_at = 2 * PAGE
    body = bytearray()
    places: dict[int, int] = {}
    for tag, content in (
        (DT_HASH, lookup),
        (DT_SYMTAB, table),
        (DT_VERSYM, numbers),
        (DT_VERDEF, versions),
        (DT_STRTAB, strings),
    ):
        body += bytes(-len(body) % 8)
        places[tag] = tables_at + len(body)
        body += content
    dynamic_at = tables_at + len(body) + -len(body) % PAGE
    entries = [
        *places.items(),
        (DT_SONAME, own_name),
        (DT_STRSZ, len(strings)),
        (DT_SYMENT, 24),
        (DT_VERDEFNUM, len(labels) + 1),
    ]
    dynamic = b"".join(struct.pack("<QQ", tag, value) for tag, value in [*entries, (0, 0)])

    segments = (
        (PT_LOAD, READ, 0, PAGE),
        (PT_LOAD, READ_EXECUTE, PAGE, len(NO_DEVICE)),
        (PT_LOAD, READ, tables_at, len(body)),
        (PT_LOAD, READ_WRITE, dynamic_at, len(dynamic)),
        (PT_DYNAMIC, READ_WRITE, dynamic_at, len(dynamic)),
        (PT_GNU_STACK, READ_WRITE, 0, 0),
    )
    header = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, len(segments), 64, 0, 0)
    for kind, access, offset, length in segments:
        align = PAGE if kind == PT_LOAD else 8
        header += struct.pack("<IIQQQQQQ", kind, access, offset, offset, offset, length, length, align)
    image = bytearray(dynamic_at + len(dynamic))
    for offset, content in ((0, header), (PAGE, NO_DEVICE), (tables_at, body), (dynamic_at, dynamic)):
        image[offset : offset + len(content)] = content
    path.write_bytes(image)


def fill_missing(folder: Path, families: tuple[str, ...]) -> list[str]:
    """
    Write into *folder* a stand-in for each library of *families* that its own libraries link and that is not there.
    Returns their names. Family "nccl" means libraries ``libnccl*`` and functions ``nccl*``.

    A name that comes without a version does not say whose it is, so it goes by its family, and each stand-in offers
    those of everyone who links it. Never more than that: a stand-in for operator new would be called.
    """
    present = [read(path) for path in sorted(folder.glob("*.so*"))]
    have = {library.soname for library in present}
    libraries = tuple(f"lib{family}" for family in families)
    missing = sorted({name for library in present for name in library.needed if name.startswith(libraries)} - have)
    for soname in missing:
        symbols = {
            symbol
            for library in present
            if soname in library.needed
            for symbol in library.wanted
            if symbol.library == soname or (not symbol.library and symbol.name.startswith(families))
        }
        write(folder / soname, soname, symbols)
    return missing
