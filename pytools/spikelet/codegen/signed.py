"""States that a key's holder has signed: the C of a library and of an agent."""

from __future__ import annotations

from spikelet.errors import UsageError
from spikelet.graph import Graph

REFUSALS = """\
    ${NAME}_ERROR_SIGNATURE = -4, // not signed by the holder of the key, cut, altered
    ${NAME}_ERROR_OLD = -5,       // signed, and its counter is lower than one that was accepted
"""
DECLARATION = """\
#define ${NAME}_SIGNED_BYTES $bytes

// Takes a state only if the holder of the key that is compiled in has signed it for this package:
// SIGNED_BYTES, which are checked before any of them is used. `counter` is of the newest that was
// accepted, 0 at first; a lower one is refused. Keep it where it outlives a reset.
int ${name}_restore_signed(const void *state, size_t bytes, uint32_t *counter);

"""
RESTORE_SIGNED = """
static const uint8_t model_key[32] = {$key};
static const uint8_t model_package[32] = {$package};

int ${name}_restore_signed(const void *state, size_t bytes, uint32_t *counter) {
    const uint8_t *from = (const uint8_t *)state;
    const uint8_t *seal = from + ${NAME}_STATE_BYTES;
    uint8_t digest[SPK_SEAL_DIGEST];

    if (bytes != ${NAME}_SIGNED_BYTES) {
        return ${NAME}_ERROR_SIGNATURE;
    }
    crypto_sha512(digest, from + sizeof model_tag, ${NAME}_STATE_BYTES - sizeof model_tag);
    if (!spk_is_sealed(model_key, model_package, digest, seal)) {
        return ${NAME}_ERROR_SIGNATURE;
    }
    if (spk_seal_counter(seal) < *counter) {
        return ${NAME}_ERROR_OLD;
    }
    const int status = ${name}_restore(state);
    if (status == ${NAME}_OK) {
        *counter = spk_seal_counter(seal);
    }
    return status;
}
"""
TAKE_SIGNED = """
_Static_assert((int)${NAME}_OK == SPK_TAKEN, "spk_model.h");
_Static_assert((int)${NAME}_ERROR_STATE == SPK_NOT_ADMITTED, "spk_model.h");
_Static_assert((int)${NAME}_ERROR_SIGNATURE == SPK_NOT_SIGNED, "spk_model.h");
_Static_assert((int)${NAME}_ERROR_OLD == SPK_TOO_OLD, "spk_model.h");

uint8_t spk_signed_state[${NAME}_SIGNED_BYTES];
const uint32_t spk_signed_bytes = ${NAME}_SIGNED_BYTES;

int spk_model_take_signed(uint32_t bytes, uint32_t *counter) {
    return ${name}_restore_signed(spk_signed_state, bytes, counter);
}
"""


def nothing_to_sign(graph: Graph) -> UsageError:
    """The error of a key where nothing is learned."""
    return UsageError(
        f"{graph.name}: a key, but nothing that a signed state could be restored into",
        "it neither learns nor has places for a delta",
        "give a package with places (Python: learn.delta.prepared), or --learn L; or no key",
    )
