// Pixels in the number type of their file.
#pragma once
#include "kernel.cuh"

// Number types, and a flag for the byte order; `expectation/gpu/prepare/particle.rs` has the same.
enum : u32 { STORED_INT8, STORED_INT16, STORED_UINT16, STORED_FLOAT16, STORED_FLOAT32, STORED_BIG_ENDIAN = 8 };

// A half precision number in single precision, exactly.
DEVICE float half_to_float(u32 bits) {
    u32 sign = (bits & 0x8000) << 16, exponent = bits >> 10 & 31, digits = bits & 1023;
    // Without the leading bit a number counts 2^-24.
    if (exponent == 0)
        return __int_as_float((int)(sign | (u32)__float_as_int((float)digits * (1.0f / 16777216.0f))));
    u32 wider = exponent == 31 ? 255 : exponent + 112;
    return __int_as_float((int)(sign | wider << 23 | digits << 13));
}

// Pixel `i`; exact in single precision for every type. Bytes are put together one by one: images of 8-bit numbers with
// an odd count need not start at a multiple of any word.
DEVICE float stored_pixel(const u8 *image, u32 format, u32 i) {
    u32 type = format & 7;
    if (type == STORED_INT8)
        return (float)(signed char)image[i];
    u32 bytes = type == STORED_FLOAT32 ? 4 : 2, word = 0;
    for (u32 b = 0; b < bytes; b++) {
        u32 place = format & STORED_BIG_ENDIAN ? bytes - 1 - b : b;
        word |= (u32)image[(u64)i * bytes + b] << (8 * place);
    }
    if (type == STORED_INT16)
        return (float)(short)(u16)word;
    if (type == STORED_UINT16)
        return (float)word;
    return type == STORED_FLOAT16 ? half_to_float(word) : __int_as_float((int)word);
}
