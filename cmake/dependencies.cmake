# Every library the project stands on. A missing one is named with its Debian package.
function(smig_need package debian)
  find_package(${package} ${ARGN} QUIET)
  if(NOT ${package}_FOUND)
    message(FATAL_ERROR "${package} is not found: install Debian's ${debian} (apt-get install ${debian})")
  endif()
endfunction()

# Imported targets must be visible to every folder.
set(CMAKE_FIND_PACKAGE_TARGETS_GLOBAL TRUE)
smig_need(bson-1.0 libbson-dev 1.23)
smig_need(mongoc-1.0 libmongoc-dev 1.23)
smig_need(OpenSSL libssl-dev)
smig_need(EXPAT libexpat1-dev)
smig_need(Threads libc6-dev)

# libcurl's headers alone: the library is opened when a program uses S3 (engine/s3/curl_table.h), and nothing links it.
find_path(SMIG_CURL_INCLUDE curl/curl.h)
find_path(SMIG_LUA_INCLUDE lua.h PATH_SUFFIXES lua5.4)
find_library(SMIG_LUA_LIBRARY NAMES lua5.4 lua)
find_program(SMIG_LUA NAMES lua5.4)
find_file(SMIG_ARGPARSE argparse.lua PATHS /usr/share/lua/5.4 /usr/share/lua/5.1 NO_DEFAULT_PATH)
foreach(need "SMIG_CURL_INCLUDE;libcurl4-openssl-dev" "SMIG_LUA_INCLUDE;liblua5.4-dev"
             "SMIG_LUA_LIBRARY;liblua5.4-dev" "SMIG_LUA;lua5.4"
             "SMIG_ARGPARSE;lua-argparse")
  list(GET need 0 variable)
  list(GET need 1 debian)
  if(NOT ${variable})
    message(FATAL_ERROR "Debian's ${debian} is missing: apt-get install ${debian}")
  endif()
endforeach()
