#include "core/model/sha256.h"

#include <openssl/evp.h>

#include "core/model/error.h"

namespace savepoint {

std::string sha256_hex(const void* bytes, size_t count) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int length = 0;
    if (EVP_Digest(bytes, count, digest, &length, EVP_sha256(), nullptr) != 1)
        throw Error("sha256: OpenSSL refused to compute it");
    constexpr char digits[] = "0123456789abcdef";
    std::string hex;
    for (unsigned int i = 0; i < length; ++i) {
        hex += digits[digest[i] >> 4];
        hex += digits[digest[i] & 15];
    }
    return hex;
}

}  // namespace savepoint
