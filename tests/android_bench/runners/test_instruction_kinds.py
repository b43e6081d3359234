"""What kind native/instructions.h takes an instruction for, against a disassembler's word on each."""

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

import android_bench
from android_bench.core_bounds import CORES, bound
from android_bench.runners.instruction_counter import KINDS

NATIVE = Path(android_bench.__file__).with_name("native")
PROGRAM = """
#include <stdio.h>
#include "instructions.h"
int main(void) {
  uint32_t code;
  for (int kind = 0; kind < KINDS; ++kind) printf("%s ", names[kind]);
  while (fread(&code, sizeof code, 1, stdin)) printf("%s ", names[kind_of(code)]);
}
"""
WORDS = (
    (0x14000014, "branches"),  # b #0x50
    (0x3400006B, "branches"),  # cbz w11, #0xc
    (0x37000053, "branches"),  # tbnz w19, #0, #8
    (0x540003A0, "branches"),  # b.eq #0x74
    (0x94000015, "branches"),  # bl #0x54
    (0xD61F0060, "branches"),  # br x3
    (0x0E212800, "converts"),  # xtn v0.8b, v0.8h
    (0x0E214800, "converts"),  # sqxtn v0.8b, v0.8h
    (0x0E216800, "converts"),  # fcvtn v0.4h, v0.4s
    (0x0E217800, "converts"),  # fcvtl v0.4s, v0.4h
    (0x0E21D800, "converts"),  # scvtf v0.2s, v0.2s
    (0x0EA1B800, "converts"),  # fcvtzs v0.2s, v0.2s
    (0x0F08A400, "converts"),  # sshll v0.8h, v0.8b, #0
    (0x0F0A8C00, "converts"),  # rshrn v0.8b, v0.8h, #6
    (0x0F108400, "converts"),  # shrn v0.4h, v0.4s, #0x10
    (0x1E254000, "converts"),  # frintm s0, s0
    (0x2E212800, "converts"),  # sqxtun v0.8b, v0.8h
    (0x2E213802, "converts"),  # shll v2.8h, v0.8b, #8
    (0x2F08A400, "converts"),  # ushll v0.8h, v0.8b, #0
    (0x4E217800, "converts"),  # fcvtl2 v0.4s, v0.8h
    (0x4E21A800, "converts"),  # fcvtns v0.4s, v0.4s
    (0x4E20CC37, "fmla_4s"),  # fmla v23.4s, v1.4s, v0.4s
    (0x4E400C43, "fmla_8h"),  # fmla v3.8h, v2.8h, v0.8h
    (0x0C40718D, "loads"),  # ld1 {v13.8b}, [x12]
    (0x0DCCC844, "loads"),  # ld1r {v4.2s}, [x2], x12
    (0x2940210A, "loads"),  # ldp w10, w8, [x8]
    (0x3840156C, "loads"),  # ldrb w12, [x11], #1
    (0x3C616A12, "loads"),  # ldr b18, [x16, x1]
    (0x3CC043E0, "loads"),  # ldur q0, [sp, #4]
    (0x88DFFD03, "loads"),  # ldar w3, [x8]
    (0xB8A08020, "loads"),  # swpa w0, w0, [x1]
    (0xF8B44958, "loads"),  # prfm , [x10, w20, uxtw]
    (0x0EA11C22, "moves"),  # mov v2.8b, v1.8b
    (0x0F000400, "moves"),  # movi v0.2s, #0
    (0x0F03F600, "moves"),  # fmov v0.2s, #1.00000000
    (0x2F0387E6, "moves"),  # mvni v6.4h, #0x7f
    (0x0A000108, "scalar"),  # and w8, w8, w0
    (0x0A220000, "scalar"),  # bic w0, w0, w2
    (0x0B000201, "scalar"),  # add w1, w16, w0
    (0x12800010, "scalar"),  # mov w16, #-1
    (0x1A808252, "scalar"),  # csel w18, w18, w0, hi
    (0x1B007C48, "scalar"),  # mul w8, w2, w0
    (0x1B0120AB, "scalar"),  # madd w11, w5, w1, w8
    (0x2A0610A8, "scalar"),  # orr w8, w5, w6, lsl #4
    (0x4B000049, "scalar"),  # sub w9, w2, w0
    (0x9B207DE9, "scalar"),  # smull x9, w15, w0
    (0xD53BD04A, "scalar"),  # mrs x10, tpidr_el0
    (0x4E809443, "sdot"),  # sdot v3.4s, v2.16b, v0.16b
    (0x0E007800, "shuffles"),  # zip2 v0.8b, v0.8b, v0.8b
    (0x0E010085, "shuffles"),  # tbl v5.8b, {v4.16b}, v1.8b
    (0x0E010400, "shuffles"),  # dup v0.8b, v0.b[0]
    (0x0E021800, "shuffles"),  # uzp1 v0.8b, v0.8b, v2.8b
    (0x0E05289D, "shuffles"),  # trn1 v29.8b, v4.8b, v5.8b
    (0x2E001000, "shuffles"),  # ext v0.8b, v0.8b, v0.8b, #2
    (0x5E060400, "shuffles"),  # mov h0, v0.h[1]
    (0x0E208104, "smlal"),  # smlal v4.8h, v8.8b, v0.8b
    (0x0E20C082, "smlal"),  # smull v2.8h, v4.8b, v0.8b
    (0x4E208104, "smlal"),  # smlal2 v4.8h, v8.16b, v0.16b
    (0x4E80A446, "smmla"),  # smmla v6.4s, v2.16b, v0.16b
    (0x0C847071, "stores"),  # st1 {v17.8b}, [x3], x4
    (0x28817D4B, "stores"),  # stp w11, wzr, [x10], #8
    (0x3800156D, "stores"),  # strb w13, [x11], #1
    (0x3C810424, "stores"),  # str q4, [x1], #0x10
    (0x889FFC15, "stores"),  # stlr w21, [x0]
    (0x0E010C01, "transfers"),  # dup v1.8b, w0
    (0x0E012C10, "transfers"),  # smov w16, v0.b[0]
    (0x0E013C02, "transfers"),  # umov w2, v0.b[0]
    (0x0E0C3C00, "transfers"),  # mov w0, v0.s[1]
    (0x1E18C408, "transfers"),  # fcvtzs w8, s0, #0xf
    (0x1E220001, "transfers"),  # scvtf s1, w0
    (0x1E260000, "transfers"),  # fmov w0, s0
    (0x0E201021, "vector"),  # saddw v1.8h, v1.8h, v0.8b
    (0x0E201C20, "vector"),  # and v0.8b, v1.8b, v0.8b
    (0x0E208420, "vector"),  # add v0.8b, v1.8b, v0.8b
    (0x0E209C20, "vector"),  # mul v0.8b, v1.8b, v0.8b
    (0x0E20D421, "vector"),  # fadd v1.2s, v1.2s, v0.2s
    (0x0E20F440, "vector"),  # fmax v0.2s, v2.2s, v0.2s
    (0x0E21CC02, "vector"),  # fmla v2.2s, v0.2s, v1.2s
    (0x0E611C00, "vector"),  # bic v0.8b, v0.8b, v1.8b
    (0x0EA01C20, "vector"),  # orr v0.8b, v1.8b, v0.8b
    (0x0EA19488, "vector"),  # mla v8.2s, v4.2s, v1.2s
    (0x0F0A5403, "vector"),  # shl v3.8b, v0.8b, #2
    (0x0F809063, "vector"),  # fmul v3.2s, v3.2s, v0.s[0]
    (0x1E202000, "vector"),  # fcmp s0, s0
    (0x1E21C000, "vector"),  # fsqrt s0, s0
    (0x1F000021, "vector"),  # fmadd s1, s1, s0, s0
    (0x2E60A0E2, "vector"),  # umlsl v2.4s, v7.4h, v0.4h
    (0x2EA18400, "vector"),  # sub v0.2s, v0.2s, v1.2s
    (0x4EA1D801, "vector"),  # frecpe v1.4s, v0.4s
    (0x4F42D000, "vector"),  # sqrdmulh v0.8h, v0.8h, v2.h[0]
)


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler: install Debian's gcc")
def test_every_word_is_of_the_disassemblers_kind(tmp_path: Path):
    source, program = tmp_path / "kinds.c", tmp_path / "kinds"
    source.write_text(PROGRAM, encoding="ascii")
    subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", f"-I{NATIVE}", source, "-o", program], check=True)
    codes = struct.pack(f"<{len(WORDS)}I", *(code for code, _ in WORDS))
    output = subprocess.run([program], input=codes, capture_output=True, check=True).stdout.decode().split()
    assert output[: len(KINDS)] == list(KINDS)
    assert output[len(KINDS) :] == [kind for _, kind in WORDS]


def counts(**kinds: int) -> dict[str, int]:
    return {**dict.fromkeys(KINDS, 0), "instructions": sum(kinds.values()), **kinds}


@pytest.mark.parametrize(
    ("kinds", "cycles", "limit"),
    [
        ({"fmla_4s": 8_000_000, "loads": 2_000_000}, (8e6, 4e6, 4e6, 2e6, 2e6), "vector pipelines"),
        ({"loads": 6_000_000, "fmla_4s": 1_000_000}, (6e6, 3e6, 3e6, 2e6, 2e6), "loads"),
        ({"scalar": 12_000_000}, (6e6, 3e6, 2e6, 1.5e6, 1.5e6), "instructions a cycle"),
        ({"branches": 3_000_000}, (3e6, 3e6, 1.5e6, 1.5e6, 1.5e6), "branches"),
        ({"converts": 4_000_000}, (2e6, 4e6, 4e6, 2e6, 2e6), "pipelines that convert"),
    ],
)
def test_a_bound_is_the_fullest_pipelines(kinds: dict[str, int], cycles: tuple[float, ...], limit: str):
    least = [bound(counts(**kinds), core) for core in CORES]
    assert tuple(one.cycles for one in least) == cycles
    assert limit in {one.limit for one in least}
    assert all(
        one.ms == pytest.approx(one.cycles / core.ghz / 1e6) for one, core in zip(least, CORES, strict=True)
    )


def test_copies_and_transfers_alone_bind_no_vector_pipeline():
    """Renaming may drop the ones, general pipelines may do the others: only the width of the core binds."""
    for core in CORES:
        assert bound(counts(moves=1000, transfers=1000), core).limit == "instructions a cycle"
