// What kind of instruction a 32-bit word of A64 is, as the Arm Architecture Reference Manual encodes it (C4.1).
//
// Every word is of one kind. The multiply-accumulates are full 128-bit vectors, "vector" and "by element" forms;
// other vector arithmetic, of any width and scalar floating point included, is VECTOR. What is left is SCALAR:
// integer arithmetic and system instructions.
#include <stdint.h>

typedef enum {
  TOTAL, FMLA_4S, FMLA_8H, SDOT, SMMLA, SMLAL, LOADS, STORES, MOVES, SHUFFLES, TRANSFERS, CONVERTS, VECTOR, BRANCHES, SCALAR,
  KINDS
} Kind;
static const char *const names[KINDS] = {"instructions", "fmla_4s",  "fmla_8h",   "sdot",     "smmla",
                                         "smlal",        "loads",    "stores",    "moves",    "shuffles",
                                         "transfers",    "converts", "vector",    "branches", "scalar"};

// An instruction is of the first row that fits; they are tried where op0 says "scalar floating point or vector".
static const struct {
  Kind kind;
  uint32_t mask, value;
} vectors[] = {
    {FMLA_4S, 0xffe0fc00, 0x4e20cc00}, {FMLA_4S, 0xffc0f400, 0x4f801000},
    {FMLA_8H, 0xffe0fc00, 0x4e400c00}, {FMLA_8H, 0xffc0f400, 0x4f001000},
    {SDOT, 0xffe0fc00, 0x4e809400},    {SDOT, 0xffc0f400, 0x4f80e000},
    {SMMLA, 0xffe0fc00, 0x4e80a400},
    // 8 or 16 bit to twice that, both halves (SMLAL, SMLAL2), and the multiplication alone (SMULL, SMULL2).
    {SMLAL, 0xbf20fc00, 0x0e208000},   {SMLAL, 0xbf00f400, 0x0f002000},
    {SMLAL, 0xbf20fc00, 0x0e20c000},   {SMLAL, 0xbf00f400, 0x0f00a000},
    // Between general and vector registers: DUP, INS, SMOV and UMOV, FMOV, integers to and from floating point.
    {TRANSFERS, 0xbfe0fc00, 0x0e000c00}, {TRANSFERS, 0xffe0fc00, 0x4e001c00}, {TRANSFERS, 0xbfe0ec00, 0x0e002c00},
    {TRANSFERS, 0x7f36fc00, 0x1e260000}, {TRANSFERS, 0x7f20fc00, 0x1e200000}, {TRANSFERS, 0x7f200000, 0x1e000000},
    // Between lanes: DUP and INS of an element, TBL TBX, ZIP UZP TRN, EXT.
    {SHUFFLES, 0xbfe0fc00, 0x0e000400}, {SHUFFLES, 0xffe08400, 0x6e000400}, {SHUFFLES, 0xffe0fc00, 0x5e000400},
    {SHUFFLES, 0xbfe08c00, 0x0e000000}, {SHUFFLES, 0xbf208c00, 0x0e000800}, {SHUFFLES, 0xbfe08400, 0x2e000000},
    // Constants and copies: MOVI MVNI FMOV of vectors, FMOV of a register or a constant. ORR and BIC with a constant
    // are arithmetic.
    {MOVES, 0x9ff81400, 0x0f000400},    {MOVES, 0x9ff8d400, 0x0f00d400},    {VECTOR, 0x9ff80400, 0x0f000400},
    {MOVES, 0xff3ffc00, 0x1e204000},    {MOVES, 0xff201fe0, 0x1e201000},
    // Narrower and wider: XTN and SQXTUN, SQXTN and UQXTN, SHLL, FCVTN and FCVTXN, FCVTL.
    {CONVERTS, 0x9f3ffc00, 0x0e212800}, {CONVERTS, 0x9f3ffc00, 0x0e214800}, {CONVERTS, 0xbf3ffc00, 0x2e213800},
    {CONVERTS, 0x9f3ffc00, 0x0e216800}, {CONVERTS, 0xbf3ffc00, 0x0e217800},
    // The same with a shift: SHRN and SQSHRUN, RSHRN and SQRSHRUN, SQSHRN, SQRSHRN, SSHLL and USHLL (SXTL, UXTL).
    {CONVERTS, 0x9f80fc00, 0x0f008400}, {CONVERTS, 0x9f80fc00, 0x0f008c00}, {CONVERTS, 0x9f80fc00, 0x0f009400},
    {CONVERTS, 0x9f80fc00, 0x0f009c00}, {CONVERTS, 0x9f80fc00, 0x0f00a400},
    // Between integers and floating point, or to a whole number: FRINT*, FCVT*, SCVTF, UCVTF of single or double
    // (FCVTAS and SCVTF only with bit 23 clear: set, they are URECPE and FRECPE), of half, and by fixed point.
    {CONVERTS, 0x9f3fec00, 0x0e218800}, {CONVERTS, 0x9f3fec00, 0x0e21a800}, {CONVERTS, 0x9fbfec00, 0x0e21c800},
    {CONVERTS, 0x9f7fec00, 0x0e798800}, {CONVERTS, 0x9f7fec00, 0x0e79a800}, {CONVERTS, 0x9fffec00, 0x0e79c800},
    {CONVERTS, 0x9f80fc00, 0x0f00e400}, {CONVERTS, 0x9f80fc00, 0x0f00fc00},
    // Scalars: of a vector register, FCVT between precisions, FRINT*.
    {CONVERTS, 0xdf3fec00, 0x5e21a800}, {CONVERTS, 0xdfbfec00, 0x5e21c800},
    {CONVERTS, 0xff3e7c00, 0x1e224000}, {CONVERTS, 0xff3c7c00, 0x1e244000},
};

static Kind load_or_store(uint32_t code) {
  const unsigned form = code >> 27 & 7, vector = code >> 26 & 1;
  if (form == 3 && !(code >> 24 & 1)) return LOADS;                // literal
  if (form != 7 || vector) return code >> 22 & 1 ? LOADS : STORES;  // pairs, exclusives, LD1..ST4; vector registers
  return code >> 22 & 3 ? LOADS : STORES;                          // general registers; a prefetch is a load
}

static Kind vector_kind(uint32_t code) {
  for (unsigned row = 0; row < sizeof vectors / sizeof *vectors; ++row)
    if ((code & vectors[row].mask) == vectors[row].value) return vectors[row].kind;
  // MOV of a vector is ORR of it with itself.
  if ((code & 0xbfe0fc00) == 0x0ea01c00 && (code >> 5 & 31) == (code >> 16 & 31)) return MOVES;
  return VECTOR;
}

static Kind kind_of(uint32_t code) {
  const unsigned group = code >> 25 & 15;
  if ((group & 5) == 4) return load_or_store(code);
  if ((group & 7) == 7) return vector_kind(code);
  if ((group & 14) == 10) return code >> 24 == 0xd5 || code >> 24 == 0xd4 ? SCALAR : BRANCHES;
  return SCALAR;
}
