# How a room is built.

# What all of our own code is compiled with. #include "core/model/weights.h" starts at the top of the repository.
add_library(savepoint_flags INTERFACE)
target_include_directories(savepoint_flags INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_options(savepoint_flags INTERFACE -Wall -Wextra
  -Wno-restrict)  # GCC 12 sees overlaps in std::string that are not there (its bug 105651)
if(CMAKE_CXX_COMPILER_LAUNCHER AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(savepoint_flags INTERFACE -fpch-preprocess)  # ccache needs it for precompiled headers
endif()
if(SAVEPOINT_SANITIZE)
  target_compile_options(savepoint_flags INTERFACE -fsanitize=${SAVEPOINT_SANITIZE} -fno-omit-frame-pointer -g1 -O1)
  target_link_options(savepoint_flags INTERFACE -fsanitize=${SAVEPOINT_SANITIZE})
endif()

# core/pch.h is compiled once and used by every room of core, and by the tests.
file(WRITE ${CMAKE_BINARY_DIR}/pch/pch.cpp.in "// The precompiled header's own source.\n")
configure_file(${CMAKE_BINARY_DIR}/pch/pch.cpp.in ${CMAKE_BINARY_DIR}/pch/pch.cpp COPYONLY)
add_library(savepoint_pch STATIC ${CMAKE_BINARY_DIR}/pch/pch.cpp)
target_link_libraries(savepoint_pch PRIVATE savepoint_flags deps::torch deps::json)
target_precompile_headers(savepoint_pch PRIVATE ${CMAKE_SOURCE_DIR}/core/pch.h)

# Number-crunching files say so in their names: *kernel*.cpp is compiled with -O3, and never fuses a
# multiplication with an addition unless it is told to, so that a result does not depend on the compiler's mood.
# What a processor may lack goes into files of its own: *_avx2.cpp and *_avx512.cpp, called after a check.
function(savepoint_kernel_flags)
  foreach(source ${ARGN})
    set(flags "")
    if(source MATCHES "kernel[^/]*\\.cpp$")
      list(APPEND flags -O3 -ffp-contract=off)
    endif()
    if(source MATCHES "_avx2\\.cpp$")
      list(APPEND flags -mavx2 -mfma -mf16c)
    elseif(source MATCHES "_avx512\\.cpp$")
      list(APPEND flags -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mf16c
        -Wno-uninitialized -Wno-maybe-uninitialized)  # GCC 12's own intrinsics set them off (its bug 105593)
    endif()
    if(flags)
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${flags}" SKIP_PRECOMPILE_HEADERS ON)
    endif()
  endforeach()
endfunction()

# savepoint_room(NAME [PCH] [EXCLUDE files] [PUBLIC targets] [PRIVATE targets]): the static library
# savepoint_NAME of this folder's *.cpp; while the folder has none, an interface library of that name.
function(savepoint_room name)
  cmake_parse_arguments(room "PCH" "" "EXCLUDE;PUBLIC;PRIVATE" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  foreach(file ${room_EXCLUDE})
    list(REMOVE_ITEM sources ${CMAKE_CURRENT_SOURCE_DIR}/${file})
  endforeach()
  set(target savepoint_${name})
  if(NOT sources)
    add_library(${target} INTERFACE)
    target_link_libraries(${target} INTERFACE savepoint_flags ${room_PUBLIC})
    return()
  endif()
  add_library(${target} STATIC ${sources})
  savepoint_kernel_flags(${sources})
  target_link_libraries(${target} PUBLIC savepoint_flags ${room_PUBLIC} PRIVATE ${room_PRIVATE})
  if(room_PCH)
    target_precompile_headers(${target} REUSE_FROM savepoint_pch)
  endif()
endfunction()
